"""REINFORCE: its gradient is that of the expected reward, and its masks hold."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transnas import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Choice, Space, get
from transnas.strategies import Stream, create
from transnas.strategies.reinforce import Policies, ReinforceSettings, softmax
from transnas.testing.strategies import Mixed, VariableDepth

Floats = npt.NDArray[np.float64]


class TwoTokens(Space):
    """Two choices of three and two values; the second is forced after the first's last value."""

    name = "two-tokens"
    choices = (Choice("first", ("a", "b", "c")), Choice("second", ("x", "y")))

    def mask(self, prefix):  # type: ignore[no-untyped-def]
        return np.array([True, prefix[0] != 2]) if prefix else np.ones(3, dtype=np.bool_)


def policies(space: Space, count: int, theta: Floats | None = None) -> Policies:
    made = Policies(space, [Stream(i) for i in range(count)], ReinforceSettings())
    if theta is not None:
        made.theta = np.repeat(theta[None], count, axis=0)
    return made


THETA = np.array([[0.3, -0.4, 0.9], [0.5, -0.2, 0.0]])


def probability(theta: Floats, codes: tuple[int, int]) -> float:
    """Return pi(codes) of `TwoTokens`, written out."""
    p = np.exp(theta[0]) / np.exp(theta[0]).sum()
    q = np.exp(theta[1, :2]) / np.exp(theta[1, :2]).sum()
    first, second = codes
    return float(p[first] * (q[second] if first != 2 else 1.0 - second))


def valid() -> Iterator[tuple[int, int]]:
    return ((a, b) for a, b in product(range(3), range(2)) if not (a == 2 and b == 1))


def reward(codes: tuple[int, int]) -> float:
    return 1.0 + 2.0 * codes[0] - 3.0 * codes[1]


def exact_gradient() -> Floats:
    """Return the gradient of E[R] by central differences of the exact sum over all codes."""
    gradient = np.zeros_like(THETA)
    for i in np.ndindex(*THETA.shape):
        step = np.zeros_like(THETA)
        step[i] = 1e-6
        up = sum(probability(THETA + step, c) * reward(c) for c in valid())
        down = sum(probability(THETA - step, c) * reward(c) for c in valid())
        gradient[i] = (up - down) / 2e-6
    return gradient


@pytest.mark.parametrize("baseline", [0.0, 2.5])
def test_the_score_function_gradient_is_that_of_the_expected_reward(baseline: float) -> None:
    n = 30_000
    many = policies(TwoTokens(), n, THETA)
    codes = many.sample(np.random.default_rng(0).random((n, 2)))
    rewards = np.array([reward((int(a), int(b))) for a, b in codes])
    each = many.gradient(codes, rewards - baseline, np.zeros(n))
    error = each.std(axis=0) / np.sqrt(n)
    assert (np.abs(each.mean(axis=0) - exact_gradient()) <= 4 * error + 1e-9).all()


def test_a_baseline_lowers_the_variance() -> None:
    n = 20_000
    many = policies(TwoTokens(), n, THETA)
    codes = many.sample(np.random.default_rng(0).random((n, 2)))
    rewards = np.array([reward((int(a), int(b))) for a, b in codes]) + 10.0
    plain = many.gradient(codes, rewards, np.zeros(n)).var(axis=0).sum()
    assert many.gradient(codes, rewards - rewards.mean(), np.zeros(n)).var(axis=0).sum() < plain


def test_samples_follow_the_policy() -> None:
    n = 20_000
    codes = policies(TwoTokens(), n, THETA).sample(np.random.default_rng(1).random((n, 2)))
    for wanted in valid():
        share = (codes == wanted).all(axis=1).mean()
        p = probability(THETA, wanted)
        assert share == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / n))


def test_the_entropy_gradient_is_the_derivative_of_the_entropy() -> None:
    one = policies(get("nasbench201"), 1)
    one.theta = np.random.default_rng(2).normal(size=one.theta.shape)
    bonus = one.gradient(np.zeros((1, 6), dtype=np.int64), np.zeros(1), np.ones(1))

    def entropy(theta: Floats) -> float:
        p = softmax(theta, np.ones(theta.shape, dtype=np.bool_))
        return float(-(p * np.log(p)).sum())

    for i in np.ndindex(*one.theta.shape):
        step = np.zeros_like(one.theta)
        step[i] = 1e-6
        slope = (entropy(one.theta + step) - entropy(one.theta - step)) / 2e-6
        assert bonus[i] == pytest.approx(slope, abs=1e-7)


@given(
    theta=st.lists(st.floats(-400, 400), min_size=16, max_size=16),
    draws=st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4),
)
@settings(max_examples=200, deadline=None)
def test_masked_values_are_never_sampled(theta: list[float], draws: list[float]) -> None:
    space = VariableDepth()
    one = policies(space, 1, np.array(theta).reshape(4, 4))
    codes = one.sample(np.array([draws]))
    space.architecture(codes[0].tolist())
    gradient = one.gradient(codes, np.ones(1), np.ones(1))
    assert np.isfinite(gradient).all()


def test_the_baseline_is_the_bias_corrected_average_with_the_current_reward() -> None:
    one = policies(TwoTokens(), 1)
    numerator = denominator = 0.0
    for r in (3.0, -1.0, 8.0, 8.0):
        one.learn(np.array([[0, 1]]), np.array([r]))
        numerator, denominator = 0.9 * numerator + 0.1 * r, 0.9 * denominator + 0.1
        assert one.baseline[0] == pytest.approx(numerator / denominator)


def test_steps_are_adams_on_the_advantage_and_the_scaled_bonus() -> None:
    given_settings = ReinforceSettings(learning_rate=0.05, momentum=0.8, entropy=0.3)
    one = Policies(TwoTokens(), [Stream(0)], given_settings)
    assert one.theta.std() == pytest.approx(1e-3, rel=0.6)
    theta = torch.tensor(one.theta.copy(), requires_grad=True)
    optimiser = torch.optim.Adam([theta], lr=0.05, maximize=True)
    rewards, gains = [], []
    for codes, r in (((0, 1), 3.0), ((1, 0), -1.0), ((2, 0), 8.0), ((0, 0), 2.0), ((1, 1), 2.5)):
        weights = 0.8 ** np.arange(len(rewards), -1, -1)
        rewards.append(r)
        gains.append(r - float(weights @ rewards / weights.sum()))
        spread = float(weights @ np.abs(gains) / weights.sum())
        given_codes = np.array([codes])
        gradient = one.gradient(given_codes, np.array([gains[-1]]), np.array([0.3 * spread]))
        theta.grad = torch.as_tensor(gradient)
        optimiser.step()
        one.learn(given_codes, np.array([r]))
        np.testing.assert_allclose(one.theta, theta.detach().numpy(), atol=1e-9)


def test_it_finds_what_is_rewarded_whatever_the_scale() -> None:
    for scale in (1e-4, 1.0, 1e4):
        strategy = create(
            "reinforce", get("nasbench201"), 0, (Objective("score"),), learning_rate=0.1
        )
        for _ in range(400):
            arch = strategy.ask()
            good = sum(v == 3 for v in arch.values) / 6
            strategy.tell(arch, Measurement({"score": scale * (good - 0.5)}))
        last = [strategy.ask() for _ in range(50)]
        assert np.mean([sum(v == 3 for v in a.values) for a in last]) > 5


def test_number_ranges_are_refused() -> None:
    with pytest.raises(InputError, match="accepts: spaces of categorical choices"):
        create("reinforce", Mixed())
