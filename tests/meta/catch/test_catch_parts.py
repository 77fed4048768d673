"""The equations of CATCH against closed forms, other libraries and enumeration."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt
import pytest
import torch
from catch_toys import Tower
from scipy.stats import chisquare, kstest, norm, rankdata, uniform

from transnas import InputError, spaces
from transnas.meta.catch._draws import Draws
from transnas.meta.catch.candidates import draw_candidates
from transnas.meta.catch.coding import Coding
from transnas.meta.catch.controller import Policy, log_policy, ppo_loss
from transnas.meta.catch.encoder import kl_to_unit, posterior, product_of_gaussians, with_z
from transnas.meta.catch.evaluator import choose, huber_loss
from transnas.meta.catch.mlp import initial, mlp
from transnas.meta.catch.normalise import normalise
from transnas.meta.catch.replay import (
    importance,
    new_priority,
    priority,
    probabilities,
    without_replacement,
)
from transnas.spaces import Architecture, Choice, Space
from transnas.spaces.residual import Residual

DOUBLE = torch.float64
ONE = np.array([0])
"""The only replicate."""


def network(name: str, sizes: Sequence[int], replicates: int = 1) -> dict[str, torch.Tensor]:
    """Return random parameters in float64 with gradients; three layers."""
    generators = [torch.Generator().manual_seed(r) for r in range(replicates)]
    found = initial(name, sizes, generators, DOUBLE)
    return {key: (3 * value).requires_grad_() for key, value in found.items()}


# Encoder --------------------------------------------------------------------------------------


def test_product_of_gaussians_is_the_normalised_product_of_densities() -> None:
    rng = torch.Generator().manual_seed(0)
    mean = torch.randn(1, 4, 1, generator=rng, dtype=DOUBLE)
    variance = torch.rand(1, 4, 1, generator=rng, dtype=DOUBLE) + 0.2
    grid = torch.linspace(-12, 12, 200_001, dtype=DOUBLE)
    logs = torch.distributions.Normal(mean[0], variance[0].sqrt()).log_prob(grid).sum(dim=0)
    density = torch.softmax(logs, dim=0)
    by_grid = (density * grid).sum()
    spread = (density * (grid - by_grid).square()).sum()
    found_mean, found_variance = product_of_gaussians(mean, variance, torch.ones(1, 4).bool())
    assert found_mean.item() == pytest.approx(by_grid.item(), abs=1e-6)
    assert found_variance.item() == pytest.approx(spread.item(), abs=1e-6)


def test_product_of_gaussians_copies_identity_order_and_absence() -> None:
    rng = torch.Generator().manual_seed(1)
    mean = torch.randn(2, 5, 3, generator=rng, dtype=DOUBLE)
    variance = torch.rand(2, 5, 3, generator=rng, dtype=DOUBLE) + 0.1
    everyone = torch.ones(2, 5, dtype=torch.bool)
    base = product_of_gaussians(mean, variance, everyone)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = product_of_gaussians(mean[:, order], variance[:, order], everyone)
    torch.testing.assert_close(base, shuffled, rtol=1e-12, atol=1e-12)
    one = product_of_gaussians(mean[:, :1], variance[:, :1], everyone[:, :1])
    torch.testing.assert_close(one, (mean[:, 0], variance[:, 0]))
    copies = product_of_gaussians(
        mean[:, :1].expand(-1, 7, -1), variance[:, :1].expand(-1, 7, -1), torch.ones(2, 7).bool()
    )
    torch.testing.assert_close(copies, (mean[:, 0], variance[:, 0] / 7))
    part = torch.tensor([[True, True, False, False, True], [False] * 5])
    kept = product_of_gaussians(mean[:1, [0, 1, 4]], variance[:1, [0, 1, 4]], everyone[:1, :3])
    found = product_of_gaussians(mean, variance, part)
    torch.testing.assert_close((found[0][:1], found[1][:1]), kept)
    assert (found[0][1] == 0).all()
    assert (found[1][1] == 1).all()


def test_kl_equals_torch_and_is_zero_only_at_the_prior() -> None:
    rng = torch.Generator().manual_seed(2)
    mean = torch.randn(6, 4, generator=rng, dtype=DOUBLE)
    variance = torch.rand(6, 4, generator=rng, dtype=DOUBLE) + 0.05
    given = torch.distributions.Normal(mean, variance.sqrt())
    unit = torch.distributions.Normal(torch.zeros_like(mean), torch.ones_like(mean))
    expected = torch.distributions.kl_divergence(given, unit).sum(dim=-1)
    torch.testing.assert_close(kl_to_unit(mean, variance), expected)
    assert kl_to_unit(torch.zeros(4), torch.ones(4)) == 0
    assert (kl_to_unit(mean, variance) > 0).all()


def test_the_posterior_does_not_depend_on_the_order_of_the_history() -> None:
    coding = Coding(spaces.get("nasbench201"), DOUBLE)
    parameters = network("encoder", (31, 16, 16, 8))
    rng = np.random.default_rng(0)
    codes = rng.integers(5, size=(1, 9, 6))
    rewards, order = torch.as_tensor(rng.standard_normal((1, 9))), rng.permutation(9)
    everyone = torch.ones(1, 9, dtype=torch.bool)
    pairs = torch.cat([coding.onehot(codes), rewards.unsqueeze(-1)], dim=-1)
    base = posterior(parameters, pairs, everyone)
    other = posterior(parameters, pairs[:, order], everyone)
    torch.testing.assert_close(base, other, rtol=1e-10, atol=1e-10)


def test_the_posterior_is_the_product_over_pairs_of_what_the_network_says() -> None:
    parameters = network("encoder", (5, 6, 6, 4))
    rng = torch.Generator().manual_seed(4)
    pairs = torch.randn(1, 3, 5, generator=rng, dtype=DOUBLE)
    precision, weighted = np.zeros(2), np.zeros(2)
    for pair in pairs[0].numpy():
        for layer in range(3):
            weight, bias = (
                parameters[f"encoder.{layer}.{kind}"][0].detach().numpy()
                for kind in ("weight", "bias")
            )
            pair = pair @ weight + bias[0]
            pair = np.maximum(pair, 0) if layer < 2 else pair
        variance = np.log1p(np.exp(pair[2:]))
        precision += 1 / variance
        weighted += pair[:2] / variance
    mean, variance = posterior(parameters, pairs, torch.ones(1, 3, dtype=torch.bool))
    np.testing.assert_allclose(mean[0].detach(), weighted / precision)
    np.testing.assert_allclose(variance[0].detach(), 1 / precision)


def test_no_pair_is_more_certain_than_the_floor_of_variances() -> None:
    parameters = {n: torch.zeros_like(p) for n, p in network("encoder", (5, 6, 6, 2)).items()}
    parameters["encoder.2.bias"] = torch.tensor([[[0.3, -60.0]]], dtype=DOUBLE)
    pair = torch.zeros(1, 1, 5, dtype=DOUBLE)
    mean, variance = posterior(parameters, pair, torch.ones(1, 1, dtype=torch.bool))
    assert mean.item() == pytest.approx(0.3)
    assert variance.item() == pytest.approx(1e-7)


# Controller -----------------------------------------------------------------------------------


FIVE_BLOCKS = Residual("five-blocks", ("basic",), (8,), (5,))
"""Residual networks of depth 5: stages and doublings are free, 4 or 5 and 3 or 4."""


@pytest.mark.parametrize(
    "space", [spaces.get("nasbench201"), Tower(), FIVE_BLOCKS], ids=lambda s: s.name
)
def test_probabilities_of_all_networks_sum_to_one(space: Space) -> None:
    coding = Coding(space, DOUBLE)
    parameters = network("controller", (4 + coding.features, 16, 16, coding.features))
    codes = np.array([[a.values for a in space.architectures()]])
    assert codes.shape[1] == space.size
    z = torch.full((1, 4), 0.7, dtype=DOUBLE)
    log_pi = log_policy(parameters, z, coding.states(codes), coding.allowed_features(codes))
    chosen = torch.as_tensor(codes + coding.offsets).unsqueeze(-1)
    total = log_pi.gather(-1, chosen).squeeze(-1).sum(dim=-1).exp().sum()
    assert total.item() == pytest.approx(1, abs=1e-6)


def test_masked_choices_are_never_drawn_and_get_no_gradient() -> None:
    space = Tower()
    coding = Coding(space, DOUBLE)
    parameters = network("controller", (4 + coding.features, 16, 16, coding.features))
    z = torch.zeros(1, 4, dtype=DOUBLE)
    draws = np.random.default_rng(0).random((1, 100_000, 4))
    drawn = Policy(parameters, z, coding, 1_000).sample(ONE, draws)
    valid = {a.values for a in space.architectures()}
    assert set(map(tuple, drawn.codes[0].tolist())) == valid

    codes = drawn.codes[:, :64]
    states, allowed = coding.states(codes), coding.allowed_features(codes)
    logits = mlp(parameters, "controller", with_z(z, states.flatten(1, 2))).detach()
    logits = logits.view(states.shape).requires_grad_()
    masked = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1)
    actions = coding.onehot(codes).unsqueeze(-2) * coding.slices
    advantage = torch.randn(1, 64, dtype=DOUBLE)
    everyone = torch.ones(1, 64, dtype=torch.bool)
    old = drawn.log_policy[:, :64]
    ppo_loss(masked, actions, old, advantage, everyone, 0.2, 0.1).sum().backward()
    assert logits.grad is not None
    assert (logits.grad[~allowed] == 0).all()
    assert (logits.grad[allowed] != 0).any()


def test_drawn_frequencies_are_the_policy() -> None:
    space = Tower()
    coding = Coding(space, DOUBLE)
    parameters = network("controller", (4 + coding.features, 16, 16, coding.features))
    z = torch.zeros(1, 4, dtype=DOUBLE)
    draws = np.random.default_rng(1).random((1, 50_000, 4))
    drawn = Policy(parameters, z, coding, 1_000).sample(ONE, draws)
    codes = np.array([[a.values for a in space.architectures()]])
    log_pi = log_policy(parameters, z, coding.states(codes), coding.allowed_features(codes))
    chosen = torch.as_tensor(codes + coding.offsets).unsqueeze(-1)
    p = log_pi.gather(-1, chosen).squeeze(-1).sum(dim=-1).exp()[0].detach().numpy()
    rows = {tuple(c): i for i, c in enumerate(codes[0].tolist())}
    counts = np.bincount([rows[tuple(c)] for c in drawn.codes[0].tolist()], minlength=len(p))
    assert chisquare(counts, p * counts.sum()).pvalue > 1e-3
    first = torch.as_tensor([rows[tuple(c)] for c in drawn.codes[0, :5].tolist()])
    torch.testing.assert_close(
        drawn.log_policy[0, :5].sum(dim=-1), torch.as_tensor(np.log(p))[first]
    )


def test_what_is_kept_for_all_prefixes_draws_as_each_prefix_alone() -> None:
    space = spaces.get("nasbench201")
    coding = Coding(space, DOUBLE)
    parameters = network("controller", (4 + coding.features, 16, 16, coding.features), replicates=3)
    z = torch.randn(3, 4, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    rows = np.array([2, 0])
    draws = np.random.default_rng(0).random((2, 500, coding.choices))
    tabled = Policy(parameters, z, coding, 1_000).sample(rows, draws)
    alone = Policy(parameters, z, coding, 0).sample(rows, draws)
    np.testing.assert_array_equal(tabled.codes, alone.codes)
    torch.testing.assert_close(tabled.log_policy, alone.log_policy)
    codes = torch.as_tensor(alone.codes + coding.offsets).unsqueeze(-1)
    own = {name: parameter[rows] for name, parameter in parameters.items()}
    states, allowed = coding.states(alone.codes), coding.allowed_features(alone.codes)
    log_pi = log_policy(own, z[rows], states, allowed).gather(-1, codes).squeeze(-1)
    torch.testing.assert_close(alone.log_policy, log_pi.detach())


def test_a_space_that_allows_nothing_is_an_error() -> None:
    class Stuck(Tower):
        def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
            return np.zeros(3, dtype=np.bool_)

    with pytest.raises(ValueError, match="allows nothing"):
        Coding(Stuck(), DOUBLE).allowed(np.zeros((1, 1, 0), dtype=np.int64))


def policy_gradient(old_shift: float, advantage: float, entropy: float = 0.0) -> torch.Tensor:
    """Return the gradient by logits of one decision among three, the second chosen."""
    logits = torch.tensor([[[[0.3, -0.2, 0.9]]]], dtype=DOUBLE, requires_grad=True)
    log_pi = torch.log_softmax(logits, dim=-1)
    actions = torch.tensor([[[[0.0, 1.0, 0.0]]]], dtype=DOUBLE)
    old = log_pi.detach()[..., 1] + old_shift
    gain = torch.tensor([[advantage]], dtype=DOUBLE)
    loss = ppo_loss(log_pi, actions, old, gain, torch.ones(1, 1).bool(), 0.2, entropy)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    return gradient.flatten()


def test_ppo_is_reinforce_where_the_policy_has_not_moved() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9], dtype=DOUBLE)
    reinforce = -1.7 * (torch.tensor([0.0, 1.0, 0.0]) - torch.softmax(logits, dim=0))
    torch.testing.assert_close(policy_gradient(0.0, 1.7), reinforce)


def test_ppo_stops_outside_the_clip_range_on_the_wrong_side_only() -> None:
    assert (policy_gradient(-0.5, 1.0) == 0).all()  # rho = e^0.5 > 1.2, and A > 0
    assert (policy_gradient(-0.5, -1.0) != 0).all()
    assert (policy_gradient(0.5, -1.0) == 0).all()  # rho = e^-0.5 < 0.8, and A < 0
    assert (policy_gradient(0.5, 1.0) != 0).all()
    assert (policy_gradient(-0.5, 1.0, entropy=0.1) != 0).all()


@pytest.mark.parametrize(("ratio", "advantage"), [(1.2, 1.0), (0.8, -1.0)])
def test_ppo_stops_at_one_plus_or_minus_the_clip(ratio: float, advantage: float) -> None:
    beyond, within = ratio + 0.01 * advantage, ratio - 0.01 * advantage
    assert (policy_gradient(-np.log(beyond), advantage) == 0).all()
    assert (policy_gradient(-np.log(within), advantage) != 0).all()


def test_the_last_draw_before_one_is_a_value_of_each_choice() -> None:
    coding = Coding(Tower(), torch.float32)
    sizes, seeds = (4 + coding.features, 16, 16, coding.features), range(200)
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]
    parameters = initial("controller", sizes, generators, torch.float32)
    draws = np.full((200, 1, 4), np.nextafter(1.0, 0.0))
    drawn = Policy(parameters, torch.zeros(200, 4), coding, 1_000).sample(np.arange(200), draws)
    valid = {a.values for a in Tower().architectures()}
    assert set(map(tuple, drawn.codes[:, 0].tolist())) <= valid


def test_first_parameters_are_uniform_within_one_over_the_root_of_the_inputs() -> None:
    sizes = (64, 9, 400, 3)
    found = initial("some", sizes, [torch.Generator().manual_seed(s) for s in range(90)], DOUBLE)
    for layer, inputs in enumerate(sizes[:-1]):
        for kind in ("weight", "bias"):
            scaled = found[f"some.{layer}.{kind}"].flatten() * np.sqrt(inputs)
            assert kstest(scaled.numpy(), uniform(-1, 2).cdf).pvalue > 1e-3


# Evaluator and replay -------------------------------------------------------------------------


def test_huber_at_three_points_and_its_weights() -> None:
    error = torch.tensor([[0.5, 1.0, -3.0]], dtype=DOUBLE)
    for i, expected in enumerate((0.125, 0.5, 2.5)):
        weights = torch.eye(3, dtype=DOUBLE)[i : i + 1]
        assert huber_loss(error, weights, 1.0).item() == pytest.approx(expected)
    assert huber_loss(error, torch.ones(1, 3), 1.0).item() == pytest.approx(3.125 / 3)


@pytest.mark.parametrize("delta", [0.4, 1.0, 2.5])
def test_huber_is_torchs_and_its_mean_is_over_what_has_a_weight(delta: float) -> None:
    error = torch.linspace(-4, 4, 33, dtype=DOUBLE)
    weights = torch.where(error.abs() < 3.1, 0.5 + error.abs() / 8, 0.0)
    each = torch.nn.functional.huber_loss(error, 0 * error, reduction="none", delta=delta)
    expected = (weights * each).sum() / (weights > 0).sum()
    torch.testing.assert_close(huber_loss(error, weights, delta), expected)


def test_epsilon_is_the_share_of_uniform_choices() -> None:
    n, m, epsilon = 20_000, 5, 0.3
    scores = torch.tensor([0.1, 0.9, 0.3, 0.2, 9.0]).expand(n, m)
    present = torch.tensor([True, True, True, True, False]).expand(n, m)
    draws = torch.rand(n, 2, generator=torch.Generator().manual_seed(0))
    chosen = choose(scores, present, epsilon, draws)
    assert chosen.max() == 3
    rate = (chosen != 1).double().mean().item()
    expected = epsilon * (1 - 1 / 4)
    assert abs(rate - expected) < 3.3 * np.sqrt(expected * (1 - expected) / n)
    assert (choose(scores, present, 0.0, draws) == 1).all()


def test_replay_follows_the_priorities() -> None:
    priorities = torch.tensor([[0.1, 0.5, 1.0, 2.0, 7.0]], dtype=DOUBLE)
    present = torch.tensor([[True, True, True, True, False]])
    chances = probabilities(priorities, present, 0.6)
    powers = np.array([0.1, 0.5, 1.0, 2.0]) ** 0.6
    np.testing.assert_allclose(chances[0, :4], powers / powers.sum())
    assert chances[0, 4] == 0
    n = 20_000
    gumbel = Draws([0], DOUBLE).gumbel((n, 5), 1)[0]
    # A share of one entry in four: a draw of one is a draw from the chances.
    drawn, _ = without_replacement(chances.expand(n, -1), 0.25, gumbel)
    assert (drawn.sum(dim=-1) == 1).all()
    counts = drawn.sum(dim=0)[:4].numpy()
    assert chisquare(counts, chances[0, :4].numpy() * n).pvalue > 1e-3


@pytest.mark.parametrize(("n", "size"), [(1, 1), (5, 4), (6, 5), (10, 8), (50, 40)])
def test_a_batch_is_four_fifths_rounded_up_and_distinct(n: int, size: int) -> None:
    chances = probabilities(torch.rand(3, n), torch.ones(3, n).bool(), 0.6)
    drawn, _ = without_replacement(chances, 0.8, Draws([0, 1, 2], torch.float32).gumbel((n,), 0))
    assert (drawn.sum(dim=-1) == size).all()


@pytest.mark.parametrize("share", [0.25, 0.5, 0.8, 1.0])
def test_importance_weights_undo_the_priorities(share: float) -> None:
    """A weighted sum over the batch is, on average, the plain sum over all entries."""
    priorities = torch.tensor([[0.1, 0.5, 1.0, 2.0, 7.0, 0.3]], dtype=DOUBLE)
    present = torch.tensor([[True, True, True, True, True, False]])
    n = 100_000
    chances = probabilities(priorities, present, 0.6).expand(n, -1)
    gumbel = Draws([0], DOUBLE).gumbel((n, 6), 2)[0]
    drawn, inclusion = without_replacement(chances, share, gumbel)
    each = torch.where(drawn, 1 / inclusion, 0.0)
    error = each.std(dim=0) / np.sqrt(n)
    assert ((each.mean(dim=0) - present[0].double()).abs() <= 4 * error).all()
    weights = importance(inclusion, drawn, 1.0)
    torch.testing.assert_close(weights * each.amax(dim=-1, keepdim=True), each)
    powers = torch.where(drawn, inclusion**-0.4, 0.0)
    torch.testing.assert_close(
        importance(inclusion, drawn, 0.4), powers / powers.amax(dim=-1, keepdim=True)
    )


def test_a_new_entry_has_the_largest_priority() -> None:
    priorities = torch.tensor([[0.1, 3.0, 9.0], [0.0, 0.0, 0.0]])
    present = torch.tensor([[True, True, False], [False, False, False]])
    assert new_priority(priorities, present).tolist() == [3.0, 1.0]
    assert priority(torch.tensor(-2.0)).item() == pytest.approx(2.001)


# Rewards and candidates -----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["winsor", "z", "rank"])
def test_normalised_rewards_are_invariant_and_blind_to_what_is_absent(method: str) -> None:
    rng = np.random.default_rng(0)
    rewards = torch.as_tensor(rng.integers(0, 900, size=(1, 12)) / 8)
    present = torch.tensor([[True] * 10 + [False] * 2])
    base = normalise(rewards, present, method)  # type: ignore[arg-type]
    assert torch.equal(base, normalise(4 * rewards + 32, present, method))  # type: ignore[arg-type]
    assert (base[0, 10:] == 0).all()
    alone = normalise(rewards[:, :10], present[:, :10], method)  # type: ignore[arg-type]
    torch.testing.assert_close(base[:, :10], alone, rtol=0, atol=1e-12)
    assert (base[0, :10].argsort(stable=True) == rewards[0, :10].argsort(stable=True)).all()


@pytest.mark.parametrize("method", ["winsor", "z", "rank"])
def test_normalised_rewards_have_their_closed_forms(method: str) -> None:
    rng = np.random.default_rng(1)
    for outliers in ([], [40.0], [-40.0], [-40.0, -1e4], [90.0, -30.0]):
        values = np.concatenate([np.round(rng.standard_normal(30), 1), outliers])
        if method == "rank":
            expected = norm.ppf((rankdata(values) - 0.5) / len(values))
        else:
            floor = -np.inf
            if method == "winsor":
                floor = np.median(values) - 2 * (values.max() - np.median(values))
            floored = np.maximum(values, floor)
            expected = np.clip((floored - floored.mean()) / floored.std(), -3, 3)
        given = torch.as_tensor(values)[None], torch.ones(1, len(values), dtype=torch.bool)
        found = normalise(*given, method)  # type: ignore[arg-type]
        np.testing.assert_allclose(found[0], expected, atol=1e-6)


def test_differences_below_rounding_are_none() -> None:
    rewards = 1e9 + torch.tensor([[0.0, 1e-6, 2e-6, 0.0]], dtype=DOUBLE)
    everyone = torch.ones(1, 4, dtype=torch.bool)
    assert (normalise(rewards, everyone, "z") == 0).all()
    assert (normalise(rewards - 1e9, everyone, "z") != 0).all()


def test_one_disconnected_network_does_not_flatten_the_others() -> None:
    rewards = torch.tensor([[84.0, 83.0, 82.0, 83.5, 10.0]], dtype=DOUBLE)
    everyone = torch.ones(1, 5).bool()
    floored = normalise(rewards, everyone, "winsor")
    assert (floored[0, 0] - floored[0, 2]) > 5 * (
        normalise(rewards, everyone, "z")[0, 0] - normalise(rewards, everyone, "z")[0, 2]
    )
    for reward in (0.0, 0.9, 1e9):
        same = torch.full((1, 5), reward, dtype=DOUBLE)
        assert (normalise(same, everyone, "winsor") == 0).all()


def test_candidates_are_new_distinct_and_fill_up_from_neighbours() -> None:
    space = Tower()
    coding = Coding(space, DOUBLE)
    parameters = network("controller", (4 + coding.features, 16, 16, coding.features))
    every = [a.values for a in space.architectures()]
    taken = set(every[:3])
    found = draw_candidates(
        parameters,
        torch.zeros(1, 4, dtype=DOUBLE),
        coding,
        40,
        [taken],
        [np.array(every[0])],
        lambda shape, attempt: np.random.default_rng(attempt).random((1, *shape)),
        lambda r: np.random.default_rng(r),
    )
    codes = list(map(tuple, found.codes[0, found.present[0]].tolist()))
    assert len(codes) == len(set(codes))
    assert set(codes) <= set(every) - taken
    assert found.sampled[0].sum() > 0


class Three(Space):
    """Three free choices of three."""

    name = "three"
    choices = tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(3))


def drawn_from(
    bias: Sequence[float], count: int, taken: set[tuple[int, ...]], best: Sequence[int] | None
) -> tuple[list[tuple[int, ...]], int]:
    """Return the candidates of a policy with these logits, and how many were drawn from it."""
    coding = Coding(Three(), DOUBLE)
    sizes = (2 + coding.features, 4, 4, coding.features)
    parameters = {n: torch.zeros_like(p) for n, p in network("controller", sizes).items()}
    parameters["controller.2.bias"] = torch.tensor(bias, dtype=DOUBLE).view(1, 1, -1)
    found = draw_candidates(
        parameters,
        torch.zeros(1, 2, dtype=DOUBLE),
        coding,
        count,
        [taken],
        [None if best is None else np.array(best)],
        lambda shape, attempt: np.random.default_rng(attempt).random((1, *shape)),
        lambda r: np.random.default_rng(r),
    )
    codes = found.codes[0, found.present[0]].tolist()
    return list(map(tuple, codes)), int(found.sampled[0].sum())


def test_five_rounds_of_draws_find_what_one_does_not() -> None:
    # 34 uniform draws of 27 networks bring 27 (1 - (26 / 27)^34) = 19.5 of them, 170 bring all.
    codes, sampled = drawn_from([0.0] * 9, 27, set(), None)
    assert len(set(codes)) == len(codes)
    assert sampled >= 25


def test_a_policy_sure_of_what_is_taken_gives_way_to_neighbours_or_one_at_random() -> None:
    sure = [99.0, 0.0, 0.0] * 3
    around, sampled = drawn_from(sure, 20, {(0, 0, 0)}, (0, 0, 0))
    assert sampled == 0
    assert set(around) == {a.values for a in Three().neighbours(Architecture("three", (0, 0, 0)))}
    alone, sampled = drawn_from(sure, 20, {(0, 0, 0)}, None)
    assert (len(alone), sampled) == (1, 0)
    assert alone != [(0, 0, 0)]


def test_spaces_with_number_ranges_are_refused() -> None:
    from transnas.testing.strategies import Mixed

    with pytest.raises(InputError, match="number ranges"):
        Coding(Mixed(), DOUBLE)


def test_draws_depend_on_seed_and_address_alone() -> None:
    both, alone = Draws([3, 4], DOUBLE), Draws([4], DOUBLE)
    np.testing.assert_array_equal(both.uniform((7,), 1, 2)[1:], alone.uniform((7,), 1, 2))
    addresses = list(product(range(3), range(3)))
    values = {tuple(alone.uniform((2,), *address).ravel()) for address in addresses}
    assert len(values) == len(addresses)
