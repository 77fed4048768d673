"""The parts of the model against closed forms."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm, rankdata

from transnas import spaces
from transnas.meta.store import Search, SourceTask, learn, source_values
from transnas.meta.store._posterior import AMPLITUDE, NOISE, SLOPE, Posterior
from transnas.meta.store._sources import NOISES, best_first, normal_scores, smooth
from transnas.meta.store._trust import RELATIONS, weigh
from transnas.spaces import Architecture, Choice, Range, Space
from transnas.strategies.bayesian._candidates import kernel_of, listed
from transnas.strategies.bayesian._features import describe
from transnas.strategies.bayesian._rewards import clip_low
from transnas.testing.strategies import Tiny

DOUBT = 0.1
OWN = AMPLITUDE**2 + DOUBT
SPACE = spaces.get("nasbench201")


def fed(observed: list[int], sources: np.ndarray) -> Posterior:
    posterior = Posterior(listed(SPACE), sources.astype(np.float32), DOUBT)
    for i in observed:
        posterior.observe(i)
    return posterior


@pytest.mark.parametrize("count", [7, 70])  # room is made for 64 at first
def test_posterior_equals_the_dense_closed_form(count: int) -> None:
    candidates = listed(SPACE)
    rng = np.random.default_rng(0)
    sources = rng.standard_normal((3, len(candidates)))
    observed = [5, 99, 1234, 4000, 4929, 99, *range(17, 17 + 9 * (count - 6), 9)]
    rewards = rng.standard_normal(len(observed))
    posterior = fed(observed, sources)
    all_of = np.arange(len(candidates))

    s, m = 0.7, sources.mean(axis=0)
    covariance = SLOPE**2 * sources[:, observed].T @ sources
    covariance += OWN * candidates.between(np.array(observed), all_of).astype(np.float64)
    inverse = np.linalg.inv(covariance[:, observed] + NOISE**2 * np.eye(len(observed)))
    ones = np.ones(len(observed))
    free = rewards - s * m[observed]
    offset = ones @ inverse @ free / (ones @ inverse @ ones)
    mean = offset + s * m + covariance.T @ inverse @ (free - offset)
    own = OWN + SLOPE**2 * (sources**2).sum(axis=0)
    variance = own - np.einsum("ij,ik,kj->j", covariance, inverse, covariance)
    variance += (1 - covariance.T @ inverse @ ones) ** 2 / (ones @ inverse @ ones)

    residual = posterior.whiten(rewards) - s * posterior.source
    found = float(posterior.ones @ residual) / float(posterior.ones @ posterior.ones)
    assert found == pytest.approx(offset, abs=1e-5)
    spread = posterior.spread(residual - found * posterior.ones)
    np.testing.assert_allclose(found + s * m + spread, mean, atol=2e-5)
    np.testing.assert_allclose(posterior.deviation() ** 2, variance, atol=2e-5)


def test_scale_is_the_maximum_of_the_likelihood() -> None:
    rng = np.random.default_rng(1)
    candidates = listed(SPACE)
    sources = rng.standard_normal((1, len(candidates)))
    observed = [3, 50, 700, 2000, 4100]
    rewards = 70 + 5 * sources[0, observed] + rng.standard_normal(5)
    posterior = fed(observed, sources)
    ones = posterior.ones
    projection = np.eye(5) - np.outer(ones, ones) / (ones @ ones)
    y, m = projection @ posterior.whiten(clip_low(rewards)), projection @ posterior.source
    for h in weigh(posterior, rewards, len(RELATIONS)):

        def loss(log_scale: float, relation: float = h.relation) -> float:
            residual = y / np.exp(log_scale) - relation * m
            return 4 * log_scale + 0.5 * float(residual @ residual)

        assert np.log(h.scale) == pytest.approx(minimize_scalar(loss).x, abs=1e-4)


@pytest.mark.parametrize("slope", [1.0, 0.2, -0.6])
def test_credit_of_the_relations_is_laplaces_approximation(slope: float) -> None:
    rng = np.random.default_rng(4)
    sources = rng.standard_normal((1, len(listed(SPACE))))
    observed = [3, 50, 700, 2000, 4100]
    posterior = fed(observed, sources)
    rewards = 70 + slope * sources[0, observed] + 0.5 * rng.standard_normal(5)
    ones = posterior.ones
    projection = np.eye(5) - np.outer(ones, ones) / (ones @ ones)
    y, m = projection @ posterior.whiten(clip_low(rewards)), projection @ posterior.source
    credit = {}
    for relation, before in ((1.0, 0.98), (0.0, 0.01), (-1.0, 0.01)):

        def log_likelihood(log_t: float, relation: float = relation) -> float:
            residual = y * np.exp(log_t) - relation * m
            return 4 * log_t - 0.5 * float(residual @ residual)

        top = float(minimize_scalar(lambda x: -log_likelihood(x)).x)
        beside = [log_likelihood(top + step) for step in (-1e-3, 0.0, 1e-3)]
        curvature = -(beside[0] - 2 * beside[1] + beside[2]) / 1e-6
        credit[relation] = before * np.exp(beside[1]) / np.sqrt(curvature)
    found = {h.relation: h.probability for h in weigh(posterior, rewards, 3)}
    shares = {relation: c / sum(credit.values()) for relation, c in credit.items()}
    assert set(found) == {relation for relation, share in shares.items() if share > 1e-3}
    assert len(found) > 1
    for relation, probability in found.items():
        assert probability == pytest.approx(shares[relation], rel=1e-3)


def test_acquisition_is_the_expected_improvement_in_units_of_the_reward() -> None:
    rng = np.random.default_rng(5)
    some = listed(SPACE)
    archs = [some.archs[i] for i in rng.choice(len(some), 30, replace=False)]
    prior = learn([SourceTask("one", archs, rng.standard_normal(30))], SPACE)
    search = Search(some, prior.sources)
    observed = [3, 50, 700, 2000, 4100, 17]
    for i in observed:
        search.observe(i, 70 + 2 * float(rng.standard_normal()))
    posterior = search.posterior
    total = np.zeros(len(some))
    hypotheses = weigh(posterior, np.array(search.rewards), 3)
    assert len(hypotheses) > 1
    for h in hypotheses:
        mean = h.scale * h.relation * posterior.mean_source + posterior.spread(h.residual)
        deviation = h.scale * posterior.deviation()
        z = (mean - mean[observed].max()) / deviation
        total += h.probability * deviation * (z * norm.cdf(z) + norm.pdf(z))
    found = search._acquisition()
    np.testing.assert_allclose(found / found.max(), total / total.max(), atol=1e-4)


def test_the_mean_of_several_sources_is_doubted_less() -> None:
    archs = [SPACE.at(i) for i in range(0, 3000, 100)]
    rng = np.random.default_rng(6)
    tasks = [SourceTask(str(j), archs, rng.standard_normal(30)) for j in range(3)]
    prior = learn(tasks, SPACE)
    posterior = Search(listed(SPACE), prior.sources).posterior
    doubt = sum(source.doubt for source in prior.sources) / 9
    assert doubt > 0.01
    values = source_values(listed(SPACE), prior.sources)
    expected = AMPLITUDE**2 + doubt + SLOPE**2 * (values**2).sum(axis=0)
    np.testing.assert_allclose(posterior.variance, expected, rtol=1e-5)
    np.testing.assert_allclose(posterior.mean_source, values.mean(axis=0), atol=1e-6)


def test_evidence_finds_the_relation() -> None:
    rng = np.random.default_rng(2)
    sources = rng.standard_normal((1, len(listed(SPACE))))
    observed = list(range(0, 4000, 400))
    posterior = fed(observed, sources)
    for relation in (1.0, -1.0):
        rewards = 3 + 2 * relation * sources[0, observed] + 0.3 * rng.standard_normal(len(observed))
        best = max(weigh(posterior, rewards, 3), key=lambda h: h.probability)
        assert best.relation == relation
        assert best.probability > 0.99


def test_kernel_is_a_correlation_and_ignores_dead_edges() -> None:
    candidates = listed(SPACE)
    some = np.arange(0, len(candidates), 25)
    gram = candidates.between(some, some).astype(np.float64)
    np.testing.assert_allclose(np.diag(gram), 1.0, atol=1e-5)
    np.testing.assert_allclose(gram, gram.T, atol=1e-6)
    assert np.linalg.eigvalsh(gram).min() > -1e-4
    # Edge 2>3 is none, so what enters node 2 cannot matter.
    dead = [SPACE.architecture((3, a, b, 2, 3, 0)) for a, b in ((1, 4), (3, 2), (0, 0))]
    features = describe(SPACE, dead)
    np.testing.assert_allclose(kernel_of(SPACE).between(features, features), 1.0, atol=1e-5)


def test_kernel_does_not_depend_on_the_other_architectures_described() -> None:
    archs = [SPACE.at(i) for i in (1, 10, 100, 1000, 10000)]
    kernel = kernel_of(SPACE)
    together = describe(SPACE, archs)
    gram = kernel.between(together, together)
    for i, arch in enumerate(archs):
        alone = kernel.between(describe(SPACE, [arch]), together)
        np.testing.assert_allclose(alone[0], gram[i], atol=1e-6)


def paths_of(space: Space, arch: Architecture) -> Counter[tuple[str, ...]]:
    """Return twice the weighted counts of paths, operations and pairs of operations."""
    found: Counter[tuple[str, ...]] = Counter()
    for path in space.paths(arch):
        found[("path", *path)] += 2
        found.update(("operation", label) for label in path)
        found.update(("pair", *pair) for pair in pairwise(path))
    return found


def summary_of(space: Space, arch: Architecture) -> list[float]:
    paths, pruned = space.paths(arch), space.pruned(arch).values
    lengths = [len(path) for path in paths] or [0]
    labels = sorted({v for c in space.choices for v in c.values})
    chosen = [c.values[v] for c, v in zip(space.choices, pruned, strict=True)]
    on_paths = [label for path in paths for label in path]
    return [
        *(len(paths), len(set(paths)), sum(lengths), max(lengths), min(lengths)),
        *(on_paths.count(label) for label in labels),
        *(chosen.count(label) for label in labels),
    ]


@pytest.mark.parametrize("space", [spaces.get("transnas101-micro"), Tiny()], ids=lambda s: s.name)
def test_the_kernel_is_its_closed_form(space: Space) -> None:
    classes: dict[Architecture, set[tuple[int, ...]]] = {}
    for arch in space.architectures():
        classes.setdefault(space.canonical(arch), set()).add(space.pruned(arch).values)
    archs, codes = list(classes), list(classes.values())
    counted = [paths_of(space, arch) for arch in archs]
    terms = sorted({term for counts in counted for term in counts})
    paths = np.array([[counts[term] / 2 for term in terms] for counts in counted])
    gram = paths @ paths.T
    squares = np.diag(gram)[:, None] + np.diag(gram) - 2 * gram
    scale = 1.5 * np.median(squares[~np.eye(len(archs), dtype=bool)])
    summary = np.array([summary_of(space, arch) for arch in archs])
    summary = summary[:, summary.std(axis=0) > 0]
    summary = (summary - summary.mean(axis=0)) / summary.std(axis=0)

    def mean(i: int, j: int) -> float:
        apart = [sum(a != b for a, b in zip(x, y, strict=True)) for x in codes[i] for y in codes[j]]
        return float(np.mean(np.exp(-np.array(apart) / (len(space.choices) / 2))))

    rng = np.random.default_rng(0)
    large = [i for i, members in enumerate(codes) if len(members) > 2]
    some = [*rng.choice(len(archs), 12), *large[:8]]
    expected = np.zeros((len(some), len(some)))
    for a, i in enumerate(some):
        for b, j in enumerate(some):
            u = summary[i] - summary[j]
            expected[a, b] = (
                0.2 * mean(i, j) / np.sqrt(mean(i, i) * mean(j, j))
                + 0.35 * np.exp(-(u @ u) / (2 * len(u)))
                + 0.45 * np.exp(-squares[i, j] / scale)
            )
    candidates = listed(space)
    at = np.array([candidates.position[archs[i]] for i in some])
    np.testing.assert_allclose(candidates.between(at, at), expected, atol=1e-5)
    kernel, rows = candidates.kernel, candidates.features[at]
    np.testing.assert_allclose(kernel.between(rows, candidates.features[at]), expected, atol=1e-5)


def test_normal_scores_are_the_quantiles_of_mean_ranks() -> None:
    rewards = np.random.default_rng(0).integers(0, 9, size=40).astype(np.float64)
    expected = norm.ppf((rankdata(rewards) - 0.5) / 40)
    np.testing.assert_allclose(normal_scores(rewards), expected, atol=1e-12)


def test_long_studies_keep_their_best_and_the_span_of_the_rest() -> None:
    rewards = np.random.default_rng(0).permutation(2500).astype(np.float64)
    kept = rewards[best_first(rewards)]
    assert len(set(kept.tolist())) == 1000
    assert kept[:500].tolist() == list(range(2499, 1999, -1))
    assert kept[-1] == 0
    assert (np.diff(kept) < 0).all()
    assert np.abs(np.diff(kept[500:])).max() <= 5
    assert rewards[best_first(rewards[:30])].tolist() == sorted(rewards[:30], reverse=True)


def test_normal_scores_are_free_of_scale_and_share_ties() -> None:
    rewards = np.array([3.0, 1.0, 1.0, -70.0, 8.0])
    scores = normal_scores(rewards)
    np.testing.assert_array_equal(scores, normal_scores(np.exp(rewards / 10)))
    assert scores[1] == scores[2]
    np.testing.assert_array_equal(np.argsort(scores, kind="stable"), [3, 1, 2, 0, 4])
    np.testing.assert_allclose(normal_scores(-rewards), -scores, atol=1e-12)
    np.testing.assert_array_equal(normal_scores(np.ones(4)), np.zeros(4))


def test_smoothing_equals_kriging_and_flattens_noise() -> None:
    candidates = listed(SPACE)
    rng = np.random.default_rng(3)
    at = np.sort(rng.choice(len(candidates), 60, replace=False))
    gram = candidates.between(at, at).astype(np.float64)
    signal = np.linalg.cholesky(gram + 1e-6 * np.eye(60)) @ rng.standard_normal(60)
    everywhere = candidates.between(np.arange(0, len(candidates), 50), at).astype(np.float64)
    weights, noise, doubt = smooth(gram, everywhere, signal)
    inverse = np.linalg.inv((1 - noise) * gram + noise * np.eye(60))
    offset = (inverse @ signal).sum() / inverse.sum()
    np.testing.assert_allclose(weights, (1 - noise) * inverse @ (signal - offset), atol=1e-6)
    assert noise == NOISES[0]
    reduction = np.einsum("ij,jk,ik->i", everywhere, inverse, everywhere)
    variance = (1 - noise) - (1 - noise) ** 2 * reduction
    assert doubt == pytest.approx(variance.mean(), abs=1e-6)
    assert smooth(gram, everywhere, rng.permutation(signal))[1] >= 0.35


def test_bad_rewards_are_bounded_by_the_spread_of_good_ones() -> None:
    rewards = np.array([90.0, 91.0, 89.0, 10.0, 90.5])
    np.testing.assert_allclose(clip_low(rewards), [90.0, 91.0, 89.0, 90.5 - 4 * 0.5, 90.5])
    np.testing.assert_array_equal(clip_low(rewards[:3]), rewards[:3])
    tied = np.array([8.0, 8.0, 7.0, 8.0, 1.0])
    np.testing.assert_array_equal(clip_low(tied), tied)


@pytest.mark.parametrize("n", [4, 6, 7, 8, 30])
def test_the_bound_is_four_times_the_best_quarters_spread(n: int) -> None:
    rewards = np.random.default_rng(n).standard_normal(n)
    rewards[:2] -= 100.0
    quartile = np.quantile(rewards, 0.75)
    bound = quartile - 4.0 * (rewards.max() - quartile)
    np.testing.assert_allclose(clip_low(rewards), np.maximum(rewards, bound))


def test_learning_cleans_its_sources() -> None:
    cells = [SPACE.at(i) for i in range(6)]
    nan = float("nan")
    useful = SourceTask("useful", [*cells, cells[0]], [1.0, 2.0, nan, 4.0, 5.0, 6.0, 3.0])
    few = SourceTask("few", [cells[0], cells[1], cells[0]], [1.0, 2.0, 3.0])
    failed = SourceTask("failed", cells, [nan] * 6)
    prior = learn([useful, few, failed, SourceTask("empty", [], [])], SPACE)
    assert [source.name for source in prior.sources] == ["useful"]
    assert len(prior.sources[0].architectures) == 5
    averaged = SourceTask("averaged", [*cells[:2], *cells[3:]], [2.0, 2.0, 4.0, 5.0, 6.0])
    assert prior.sources[0].architectures[0] == cells[5]
    np.testing.assert_allclose(
        prior.sources[0].weights, learn([averaged], SPACE).sources[0].weights
    )


class Chain(Space):
    """Too large to list, and with a number beside the architecture."""

    name = "test-chain"
    choices = tuple(Choice(f"layer {i}", ("a", "b", "c", "d")) for i in range(12))
    ranges = (Range("rate", 1e-4, 1.0, log=True),)


def test_large_spaces_are_described_too() -> None:
    space = Chain()
    rng = np.random.default_rng(0)
    archs: list[Architecture] = [space.sample(rng) for _ in range(30)]
    features = describe(space, archs)
    gram = kernel_of(space).between(features, features)
    np.testing.assert_allclose(np.diag(gram), 1.0, atol=1e-5)
    near = kernel_of(space).between(describe(space, [space.neighbours(archs[0])[0]]), features)[0]
    assert near.argmax() == 0
