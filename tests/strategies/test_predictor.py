"""Predictor search: its posterior is a linear regression's, and its proposals follow from it."""

from __future__ import annotations

from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest

from transnas import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, get
from transnas.strategies import Strategy, create
from transnas.strategies.predictor import (
    Regression,
    by_paths,
    normal_scores,
)
from transnas.testing.strategies import Mixed

SCORE = (Objective("score"),)
SPACE = get("nasbench201")


def quality(arch: Architecture) -> float:
    """Return a made-up accuracy with interactions; one cell, all 3x3 convolutions, is best."""
    good = [v == 3 for v in arch.values]
    return sum(good) + sum(a and b for a, b in pairwise(good))


def run(strategy: Strategy, queries: int) -> list[Architecture]:
    asked = []
    for _ in range(queries):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], Measurement({"score": quality(asked[-1])}))
    return asked


def posterior(
    known: np.ndarray, targets: np.ndarray, candidates: np.ndarray, parts: int, noise: float
) -> tuple[np.ndarray, np.ndarray]:
    regression = Regression(candidates, parts, noise)
    regression.extend(known)
    return regression.at_candidates(targets)


def test_the_posterior_is_that_of_regression_on_choices_pairs_and_triples() -> None:
    rng = np.random.default_rng(0)
    x, new = (np.eye(3)[rng.integers(3, size=(n, 4))].reshape(n, 12) for n in (7, 5))
    y, noise = rng.normal(size=7), 0.2

    def products(z: np.ndarray) -> np.ndarray:
        """Return monomials of degree 1 to 3, so weighted that <p(x), p(y)> is the kernel."""
        columns = []
        for degree in (1, 2, 3):
            for term in combinations_with_replacement(range(12), degree):
                counts = np.bincount(term)
                orders = np.prod([float(np.prod(range(1, c + 1))) for c in counts])
                repeats = {1: 1, 2: 2, 3: 6}[degree] / orders
                columns.append(np.sqrt(repeats / 4**degree / 3) * z[:, list(term)].prod(axis=1))
        return np.stack(columns, axis=1)

    a, b = products(x), products(new)
    precision = a.T @ a / noise + np.eye(a.shape[1])
    mean, deviation = posterior(x, y, new, 4, noise)
    assert mean == pytest.approx(b @ np.linalg.solve(precision, a.T @ y / noise), abs=1e-10)
    variance = (b * np.linalg.solve(precision, b.T).T).sum(axis=1)
    assert deviation == pytest.approx(np.sqrt(variance), abs=1e-10)


def test_normal_scores_know_only_the_order() -> None:
    rewards = [3.0, -1e30, 5.0, 3.0]
    scores = normal_scores(rewards)
    assert scores.tolist() == normal_scores([3.1, 0.0, 4e9, 3.1]).tolist()
    assert scores[1] < scores[0] == scores[3] < scores[2]
    assert scores.sum() == pytest.approx(0)


def test_it_finds_the_best_cell_long_before_random_search_would() -> None:
    best = SPACE.architecture((3,) * 6)
    found = sum(best in run(create("predictor", SPACE, seed, SCORE), 60) for seed in range(5))
    assert found >= 4


def test_one_function_is_measured_once() -> None:
    asked = run(create("predictor", SPACE, 0, SCORE), 60)[10:]
    assert len({SPACE.canonical(a) for a in asked}) == len(asked)


def test_it_finds_good_architectures_where_the_space_cannot_be_listed() -> None:
    space = get("nasnet")
    assert space.size > 20_000
    means = {}
    for name in ("predictor", "random"):
        asked = run(create(name, space, 0, SCORE), 60)
        means[name] = np.mean([quality(a) for a in asked[30:]])
    assert means["predictor"] > means["random"] + 3


def test_numbers_are_searched_beside_choices() -> None:
    strategy = create("predictor", Mixed(), 0, SCORE)
    asked = []
    for _ in range(40):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], Measurement({"score": asked[-1].numbers[1]}))
    assert np.mean([a.numbers[1] for a in asked[20:]]) > 0.8


def test_what_is_believed_of_waiting_workers_keeps_means_and_lowers_deviations() -> None:
    rng = np.random.default_rng(1)
    drawn = SPACE.encode([SPACE.at(int(i)) for i in rng.integers(15625, size=31)])
    known, waiting, others = np.split(drawn.astype(np.float64), [8, 11])
    targets = rng.normal(size=8)
    regression = Regression(np.concatenate([others, waiting, known]), 6, 0.1)
    regression.extend(known)
    before, wide = regression.at_candidates(targets)
    values = np.concatenate([targets, regression.at(waiting, targets)])
    believing = regression.believing(waiting)
    after, narrow = believing.at_candidates(values)
    assert after == pytest.approx(before, abs=1e-9)
    assert (narrow <= wide + 1e-9).all()
    assert (narrow[20:23] < 0.7 * wide[20:23]).all()
    assert believing.at_known(values) == pytest.approx(np.concatenate([after[23:], after[20:23]]))
    assert np.array_equal(regression.at_candidates(targets), (before, wide))


def test_several_workers_get_different_architectures() -> None:
    strategy = create("predictor", SPACE, 0, SCORE)
    run(strategy, 30)
    assert len({strategy.ask() for _ in range(6)}) == 6


@pytest.mark.parametrize("told", [Measurement.failed("out of memory"), Measurement({"score": 1.0})])
def test_failures_and_constant_rewards_do_not_repeat_a_query(told: Measurement) -> None:
    strategy = create("predictor", SPACE, 0, SCORE)
    asked = []
    for _ in range(25):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], told)
    assert len(set(asked)) == 25


def test_the_path_encoding_sees_paths_alone() -> None:
    some = [SPACE.at(i) for i in range(0, 15625, 400)]
    rows = by_paths(SPACE, some)
    assert (rows**2).sum(axis=1) == pytest.approx(np.full(len(some), 6.0))
    for i, a in enumerate(some):
        for j, b in enumerate(some):
            alike = set(SPACE.paths(a)) == set(SPACE.paths(b))
            assert np.allclose(rows[i], rows[j]) == alike


def test_path_encodings_find_the_best_cell_too() -> None:
    best = SPACE.architecture((3,) * 6)
    runs = [run(create("predictor", SPACE, s, SCORE, encoding="paths"), 60) for s in range(3)]
    assert sum(max(map(quality, asked)) >= 0.8 * quality(best) for asked in runs) == 3
    with pytest.raises(InputError, match="'encoding' value 'graph' is unknown; accepted: one-hot"):
        create("predictor", SPACE, encoding="graph")
