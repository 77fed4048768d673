"""Recurrent controllers: exact probabilities and gradients, late answers, planted patterns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch

from transnas import InputError, spaces
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Choice, Space
from transnas.spaces._skips import ChainSpace, chain_choices
from transnas.strategies import create
from transnas.strategies._lstm_policy import LSTMPolicy, chosen_log_policy, entropies
from transnas.testing.strategies import Mixed, VariableDepth

Floats = npt.NDArray[np.float64]


class Chain(ChainSpace):
    """Three layers of two operations, with skips: 64 architectures."""

    name = "small-chain"
    layers = 3
    tokens = (Choice("op", ("a", "b")),)
    sequential = True
    choices = chain_choices(layers, tokens)


class Ordered(Chain):
    """The same, but a layer that reads layer 0 may not read layer 1."""

    name = "ordered"

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        return np.array([True, not (len(prefix) == 5 and prefix[4] == 1)])


class Pattern(ChainSpace):
    """Four layers of two tokens, with skips: 4.2 million architectures."""

    name = "pattern"
    layers = 4
    tokens = (Choice("height", ("1", "3", "5", "7")), Choice("filters", ("24", "36", "48", "64")))
    sequential = False
    choices = chain_choices(layers, tokens)


class Tree(Space):
    """Two nodes that read an earlier state each."""

    name = "small-tree"
    choices = (
        Choice("node 1 op", ("a", "b", "c")),
        Choice("node 2 input", ("0", "1")),
        Choice("node 2 op", ("a", "b", "c")),
    )

    def referents(self, choice: int) -> tuple[int | None, ...]:
        return (-1, 0) if choice == 1 else ()


def policy_of(space: Space, reach: float = 1.0, **settings: float) -> LSTMPolicy:
    return LSTMPolicy(space, hidden=6, layers=2, reach=reach, seed=3, **settings).double()


def number(value: torch.Tensor) -> float:
    return float(value.detach())


def all_codes(space: Space) -> npt.NDArray[np.int64]:
    return np.array([a.values for a in space.architectures()])


SMALL = [Chain(), Ordered(), Tree(), VariableDepth()]


@pytest.mark.parametrize("space", SMALL, ids=lambda s: s.name)
@pytest.mark.parametrize("shape", [{}, {"temperature": 5.0, "squash": 2.5}], ids=["plain", "enas"])
def test_probabilities_of_all_architectures_sum_to_one(
    space: Space, shape: dict[str, float]
) -> None:
    codes = all_codes(space)
    log_p = chosen_log_policy(policy_of(space, **shape)(codes), codes).sum(dim=1)
    assert number(log_p.exp().sum()) == pytest.approx(1.0, abs=1e-12)
    assert number(log_p.exp().std()) > 1e-5  # not the uniform policy


@pytest.mark.parametrize("space", SMALL, ids=lambda s: s.name)
def test_samples_are_valid_and_carry_their_own_log_probabilities(space: Space) -> None:
    policy = policy_of(space)
    draws = np.random.default_rng(0).random((40, len(space.choices)))
    codes, log_pi = policy.sample(draws)
    for row in codes.tolist():
        space.architecture(row)
    assert torch.equal(log_pi, policy(codes))
    # One at a time draws the same: rows of a batch do not see one another.
    for i in range(3):
        alone, alone_log_pi = policy.sample(draws[i : i + 1])
        assert (alone[0] == codes[i]).all()
        assert torch.allclose(alone_log_pi[0], log_pi[i], atol=1e-12)


def test_sampled_frequencies_are_the_probabilities() -> None:
    space, n = Ordered(), 20_000
    policy = policy_of(space)
    codes = all_codes(space)
    p = chosen_log_policy(policy(codes), codes).sum(dim=1).exp().detach().numpy()
    drawn, _ = policy.sample(np.random.default_rng(1).random((n, len(space.choices))))
    index = {tuple(row): i for i, row in enumerate(codes.tolist())}
    counts = np.bincount([index[tuple(row)] for row in drawn.tolist()], minlength=len(codes))
    statistic = float(((counts - n * p) ** 2 / (n * p)).sum())
    dof = len(codes) - 1
    assert statistic < dof + 5 * np.sqrt(2 * dof)


def test_anchor_points_are_the_published_attention() -> None:
    # P(layer 2 reads layer i) = sigmoid(v tanh(W_prev h_i + W_curr h_2)), bits independent.
    space = Chain()
    policy = policy_of(space)
    outputs: list[torch.Tensor] = []
    policy.cells[-1].register_forward_hook(lambda module, args, out: outputs.append(out[0]))
    codes = np.array([[0, 1, 1, 1, 0, 1]])
    log_pi = policy(codes)[0]
    # Steps: op 0, op 1, bit 1-0, op 2, bits 2-0 and 2-1.
    assert len(outputs) == 5
    h, now = (outputs[0], outputs[1]), outputs[4]
    for bit, earlier in ((4, h[0]), (5, h[1])):
        mixed = torch.tanh(policy.previous(earlier) + policy.current(now))
        logit = number(policy.attention(mixed))
        assert number(log_pi[bit, 1].exp()) == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-12)
    # Independent: the second bit does not depend on the first.
    other = policy(np.array([[0, 1, 1, 1, 1, 1]]))[0]
    assert torch.equal(other[5], log_pi[5])


@pytest.mark.parametrize(
    ("name", "choice", "expected"),
    [
        ("chain", 2, ()),
        ("chain", 6, (None, 2)),  # layer 1 reads 0
        ("chain", 11, (None, 5)),  # layer 2 reads 1, whose tokens are choices 3..5
        ("pnas", 4, (-1, -2, 3)),
        ("nasnet", 26, (-1, -2)),
        ("nasnet", 30, (-1, -2, 29)),
        ("enas-recurrent", 3, (0, 2)),
        ("darts-recurrent", 4, (-1, 1, 3)),
        ("nasbench201", 0, ()),
    ],
)
def test_spaces_say_what_their_pointers_mean(
    name: str, choice: int, expected: tuple[int | None, ...]
) -> None:
    assert spaces.get(name).referents(choice) == expected


@pytest.mark.parametrize("name", ["chain", "pnas", "nasnet", "enas-recurrent", "enas-macro"])
def test_pointers_point_back_and_have_a_meaning_for_each_value(name: str) -> None:
    space = spaces.get(name)
    for d, choice in enumerate(space.choices):
        pointer = space.referents(d)
        assert len(pointer) in (0, len(choice.values))
        assert all(r is None or r < d for r in pointer)
        assert len(set(pointer)) == len(pointer)


def reward_of(codes: Sequence[int]) -> float:
    return 1.0 + 2.0 * codes[0] - 3.0 * codes[1] + codes[0] * codes[-1]


def test_the_score_function_gradient_is_that_of_the_expected_reward() -> None:
    # E over all architectures of R grad log pi, against central differences of E[R].
    space = Ordered()
    policy, codes = policy_of(space), all_codes(space)
    rewards = torch.tensor([reward_of(row) for row in codes.tolist()], dtype=torch.float64)

    def expected() -> torch.Tensor:
        return (chosen_log_policy(policy(codes), codes).sum(dim=1).exp() * rewards).sum()

    log_p = chosen_log_policy(policy(codes), codes).sum(dim=1)
    score = (log_p.exp().detach() * rewards * log_p).sum()
    parameters = dict(policy.named_parameters())
    gradients = torch.autograd.grad(score, list(parameters.values()), allow_unused=True)
    rng, checked = np.random.default_rng(0), 0
    for parameter, gradient in zip(parameters.values(), gradients, strict=True):
        if gradient is None:
            continue
        flat, k = parameter.data.view(-1), int(rng.integers(parameter.numel()))
        before = float(flat[k])
        with torch.no_grad():
            flat[k] = before + 1e-5
            up = number(expected())
            flat[k] = before - 1e-5
            down = number(expected())
            flat[k] = before
        assert float(gradient.view(-1)[k]) == pytest.approx((up - down) / 2e-5, abs=1e-7)
        checked += 1
    assert checked > 10


def test_the_entropy_of_choices_adds_up_to_that_of_the_policy() -> None:
    # E[sum_t H(pi(. | a_<t))] = H(pi), by the chain rule.
    space = Ordered()
    policy, codes = policy_of(space), all_codes(space)
    log_pi = policy(codes)
    log_p = chosen_log_policy(log_pi, codes).sum(dim=1)
    total = (log_p.exp() * entropies(log_pi).sum(dim=1)).sum()
    assert number(total) == pytest.approx(number(-(log_p.exp() * log_p).sum()), abs=1e-12)


# The strategies -----------------------------------------------------------------------------


def test_one_pass_of_the_clipped_surrogate_is_reinforce() -> None:
    # Four results of the present policy: the step is Adam's on (R - b) grad log pi.
    strategy = create("nasnet", Chain(), 0, (Objective("score"),), batch=4, passes=1, entropy=0.0)
    reference = LSTMPolicy(
        Chain(),
        hidden=100,
        layers=1,
        reach=0.1,
        seed=strategy._learner_seed,  # type: ignore[attr-defined]
    )
    asked = [strategy.ask() for _ in range(4)]
    rewards = np.array([reward_of(a.values) for a in asked])
    for arch, reward in zip(asked, rewards, strict=True):
        strategy.tell(arch, Measurement({"score": float(reward)}))
    gain = rewards - rewards.mean()
    codes = np.array([a.values for a in asked])
    log_p = chosen_log_policy(reference(codes), codes).mean(dim=1)
    (-(torch.as_tensor(gain, dtype=torch.float32) * log_p).mean()).backward()
    torch.optim.Adam(reference.parameters(), lr=0.005).step()
    found = strategy._learner.state()  # type: ignore[attr-defined]
    for name, parameter in reference.named_parameters():
        assert np.allclose(found[name], parameter.detach().numpy(), atol=1e-5)


def test_gains_are_over_earlier_rewards_and_the_bonus_is_in_their_units() -> None:
    given = {"batch": 2, "momentum": 0.8, "entropy": 0.3, "power": 2.0}
    strategy = create("zoph-le", Chain(), 0, (Objective("score"),), **given)
    steps: list[tuple[list[float], float]] = []
    strategy._learner.learn = (  # type: ignore[attr-defined]
        lambda codes, old, gain, bonus: steps.append((gain.tolist(), bonus))
    )
    batches = [(1.0, -2.0), (3.0, 0.5), (-1.5, 2.0)]
    for rewards in batches:
        for reward in rewards:
            strategy.tell(strategy.ask(), Measurement({"score": reward}))

    def average(values: Sequence[float]) -> float:
        weights = 0.8 ** np.arange(len(values) - 1, -1, -1)
        return float(weights @ np.array(values) / weights.sum())

    earlier: list[float] = []
    sizes: list[float] = []
    for rewards, (gain, bonus) in zip(batches, steps, strict=True):
        shaped = [np.sign(r) * r**2 for r in rewards]
        expected = np.array(shaped) - (average(earlier) if earlier else np.mean(shaped))
        assert gain == pytest.approx(expected.tolist())
        earlier += shaped
        sizes += np.abs(expected).tolist()
        assert bonus == pytest.approx(0.3 * average(sizes))


def test_proposals_are_of_the_present_policy_and_answered_the_oldest_first() -> None:
    strategy = create("zoph-le", Chain(), 0, (Objective("score"),), batch=4, reach=3.0)
    pending = strategy._pending  # type: ignore[attr-defined]
    asked = [strategy.ask() for _ in range(2)]
    for k, arch in enumerate([*asked, Chain().at(5), Chain().at(6)]):
        strategy.tell(arch, Measurement({"score": float(k)}))
    again = strategy.ask()  # two of the first batch's draws were left
    assert [p.version for p in pending[again]] == [1]
    old = pending[again][0]._replace(version=0)
    pending[again].insert(0, old)
    strategy.tell(again, Measurement({"score": 1.0}))
    assert [p.version for p in pending[again]] == [1]


def test_a_batch_is_learnt_in_passes_and_its_entropy_is_a_bonus() -> None:
    found = []
    for passes, entropy in ((1, 0.0), (3, 0.0), (1, 5.0)):
        given = {"batch": 4, "passes": passes, "entropy": entropy, "reach": 2.0}
        strategy = create("zoph-le", Chain(), 0, (Objective("score"),), **given)
        learner = strategy._learner  # type: ignore[attr-defined]
        steps: list[None] = []
        learner._optimiser.register_step_post_hook(lambda *a: steps.append(None))  # noqa: B023
        asked = [strategy.ask() for _ in range(4)]
        codes = np.array([arch.values for arch in asked])
        before = number(entropies(learner.policy(codes)).mean())
        for value, arch in enumerate(asked):
            strategy.tell(arch, Measurement({"score": 1e-3 * value}))
        assert len(steps) == passes
        found.append(number(entropies(learner.policy(codes)).mean()) - before)
    assert found[2] > max(found[0], 0.0)


def test_logits_are_divided_by_the_temperature_and_squashed() -> None:
    policy = policy_of(VariableDepth(), temperature=4.0, squash=1.5)
    logits: list[torch.Tensor] = []
    policy.heads["0"].register_forward_hook(lambda module, x, out: logits.append(out))
    codes = all_codes(VariableDepth())
    found = policy(codes)[:, 0, : len(VariableDepth().choices[0].values)]
    expected = torch.log_softmax(1.5 * torch.tanh(logits[0] / 4.0), dim=-1)
    torch.testing.assert_close(found, expected)
    policy.squash = None
    plain = policy(codes)[:, 0, : found.shape[1]]
    torch.testing.assert_close(plain, torch.log_softmax(logits[0] / 4.0, dim=-1))


def test_the_next_input_is_the_mean_of_what_was_chosen() -> None:
    policy = policy_of(Chain())
    step = next(s for s in policy.steps if len(s.memory) == 2)
    memory = [policy.nothing.expand(4, -1)]
    memory += [torch.randn(4, 6).double() for _ in range(max(max(p) for p in step.memory))]
    taken = [torch.tensor([1, 0, 1, 0]), torch.tensor([1, 1, 0, 0])]
    found = policy._next_input(step, taken, memory)
    first, second = (memory[places[1]] for places in step.memory)
    expected = [(first[0] + second[0]) / 2, second[1], first[2], policy.nothing]
    torch.testing.assert_close(found, torch.stack(expected))


@pytest.mark.parametrize("space", [Chain(), Tree()], ids=lambda s: s.name)
def test_the_most_likely_codes_are_so_choice_by_choice(space: Space) -> None:
    policy = policy_of(space)
    codes = policy.most_likely()
    log_pi = policy(codes[None])[0]
    assert log_pi.argmax(dim=-1).tolist() == codes.tolist()


def test_the_last_draw_before_one_is_a_value_of_each_choice() -> None:
    space = VariableDepth()
    for seed in range(40):
        policy = LSTMPolicy(space, hidden=6, reach=1.0, seed=seed)
        draws = np.full((1, len(space.choices)), np.nextafter(1.0, 0.0))
        space.architecture(policy.sample(draws)[0][0].tolist())


def test_answers_in_time_are_the_synchronous_algorithm_whatever_may_be_late() -> None:
    # One worker: max_delay does not matter, bit for bit.
    states = []
    for max_delay in (0, 20):
        strategy = create("zoph-le", Chain(), 5, (Objective("score"),), max_delay=max_delay)
        for _ in range(40):
            arch = strategy.ask()
            strategy.tell(arch, Measurement({"score": reward_of(arch.values)}))
        states.append(strategy.state())
    assert states[0] == states[1]


def test_results_older_than_the_largest_delay_are_dropped() -> None:
    strategy = create("zoph-le", Chain(), 0, (Objective("score"),), batch=2, max_delay=1)
    late = strategy.ask()
    for _ in range(4):  # two steps of the policy
        arch = strategy.ask()
        strategy.tell(arch, Measurement({"score": reward_of(arch.values)}))
    before = strategy.state()
    strategy.tell(late, Measurement({"score": 5.0}))
    after = strategy.state()
    assert before["version"] == 2
    assert after["results"] == before["results"] == []
    assert after["pending"] == []


def test_a_late_answer_is_weighed_by_what_the_policy_thought_then() -> None:
    # The gradient of a late answer is rho grad log pi A with rho = pi / pi_old.
    strategy = create(
        "zoph-le", Chain(), 0, (Objective("score"),), batch=1, clip=100.0, entropy=0.0
    )
    late = strategy.ask()
    for k in range(5):
        arch = strategy.ask()
        strategy.tell(arch, Measurement({"score": float(k)}))
    learner = strategy._learner  # type: ignore[attr-defined]
    [[proposal]] = strategy._pending.values()  # type: ignore[attr-defined]
    codes = np.array([late.values])
    log_pi = chosen_log_policy(learner.policy(codes), codes)
    ratio = (log_pi.detach() - torch.as_tensor(proposal.log_policy)).exp()
    assert number((ratio - 1).abs().max()) > 1e-3
    parameters = list(learner.policy.parameters())
    expected = torch.autograd.grad((ratio * log_pi).mean(), parameters, allow_unused=True)
    learner.learn(codes, proposal.log_policy[None], np.array([1.0]), 0.0)
    for parameter, gradient in zip(parameters, expected, strict=True):
        if gradient is not None:
            assert parameter.grad is not None
            assert torch.allclose(parameter.grad, -gradient, atol=1e-6)


@pytest.mark.parametrize("name", ["zoph-le", "nasnet"])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_planted_pattern_is_learnt(name: str, workers: int) -> None:
    """Tokens change from layer to layer and every layer reads the first."""
    space = Pattern()
    wanted = planted(space)
    strategy = create(name, space, 0, (Objective("score"),), batch=8, hidden=100, layers=1)
    pending: list[Architecture] = []
    for _ in range(400):
        while len(pending) < workers:
            pending.append(strategy.ask())
        arch = pending.pop(0)
        strategy.tell(arch, Measurement({"score": agreement(arch, wanted)}))
    last = [agreement(strategy.ask(), wanted) for _ in range(50)]
    assert np.mean(last) > 0.85  # at random: 0.36


def planted(space: Space) -> tuple[int, ...]:
    codes = []
    for choice in space.choices:
        words = choice.name.split()
        layer = int(words[1])
        if words[2] == "reads":
            codes.append(int(words[3] == "0"))
        else:
            codes.append((layer + len(words[2])) % len(choice.values))
    return tuple(codes)


def agreement(arch: Architecture, wanted: Sequence[int]) -> float:
    return float(np.mean([a == b for a, b in zip(arch.values, wanted, strict=True)]))


def test_a_restored_controller_continues_in_the_middle_of_a_batch() -> None:
    strategy = create("nasnet", spaces.get("pnas"), 3, (Objective("score"),), batch=3)
    late = [strategy.ask() for _ in range(2)]
    for k in range(10):
        arch = strategy.ask()
        strategy.tell(arch, Measurement({"score": float(k % 4)}))
    state = json.loads(json.dumps(strategy.state(), allow_nan=False))
    other = create("nasnet", spaces.get("pnas"), 3, (Objective("score"),), batch=3)
    other.restore(state)
    for one in (strategy, other):
        one.tell(late[1], Measurement({"score": 2.0}))
        one.tell(late[0], Measurement({"score": 1.0}))
    assert [strategy.ask() for _ in range(5)] == [other.ask() for _ in range(5)]


def test_torch_s_random_numbers_are_left_alone() -> None:
    before = torch.get_rng_state()
    strategy = create("zoph-le", Chain(), 0, (Objective("score"),), batch=1)
    strategy.tell(strategy.ask(), Measurement({"score": 1.0}))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["zoph-le", "nasnet"])
def test_number_ranges_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="accepts: spaces of categorical choices"):
        create(name, Mixed())


@pytest.mark.parametrize(
    ("setting", "value"), [("batch", 0), ("momentum", 1.0), ("clip", 0.0), ("max_delay", -1)]
)
def test_settings_out_of_range_are_refused(setting: str, value: float) -> None:
    with pytest.raises(InputError, match=f"setting '{setting}' is {value}; accepted"):
        create("zoph-le", Chain(), **{setting: value})


def test_a_free_space_needs_no_masks() -> None:
    space = spaces.get("nasbench201")
    policy = LSTMPolicy(space, seed=1)
    codes = np.array(list(product(range(5), repeat=6)))[::501]
    assert torch.isfinite(policy(codes)[..., :5]).all()
