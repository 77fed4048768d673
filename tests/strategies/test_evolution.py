"""Evolution: who is alive, who is a parent, and what a child is."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
import pytest
from scipy.stats import chisquare

from transnas import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, get
from transnas.strategies import create, replicate
from transnas.strategies._draws import crossed
from transnas.strategies._replicates import one_replicate
from transnas.strategies._stream import Stream
from transnas.strategies.regularized_evolution import Evolution
from transnas.testing.strategies import VariableDepth

SPACE = get("nasbench201")


def evolution(name: str, **settings: float) -> Evolution:
    strategy = create(name, SPACE, 3, (Objective("score"),), **settings)
    assert isinstance(strategy, Evolution)
    return strategy


def scored(value: float) -> Measurement:
    return Measurement({"score": value})


def test_the_aging_population_is_the_last_p_evaluated() -> None:
    strategy, rng = evolution("regularized-evolution", population=7), np.random.default_rng(0)
    told: deque[object] = deque(maxlen=7)
    for _ in range(60):
        arch = strategy.ask()
        strategy.tell(arch, scored(rng.random()))
        told.append(arch)
        assert sorted(map(hash, strategy.population)) == sorted(map(hash, told))


def test_the_non_aging_population_is_the_best_p_evaluated() -> None:
    strategy, rng = evolution("non-aging-evolution", population=7), np.random.default_rng(0)
    told = []
    for _ in range(60):
        arch, value = strategy.ask(), float(rng.random())
        strategy.tell(arch, scored(value))
        told.append((value, arch))
        best = sorted(told, key=lambda t: t[0])[-7:]
        assert sorted(map(hash, strategy.population)) == sorted(hash(a) for _, a in best)


@pytest.mark.parametrize("name", ["regularized-evolution", "non-aging-evolution"])
def test_children_are_neighbours_of_members(name: str) -> None:
    strategy, rng = evolution(name, population=5, sample=2), np.random.default_rng(0)
    for step in range(40):
        alive = strategy.population
        child = strategy.ask()
        if step >= 5:
            assert any(child in SPACE.neighbours(parent) for parent in alive)
        strategy.tell(child, scored(rng.random()))


def test_a_large_tournament_takes_the_best_as_parent() -> None:
    strategy = evolution("regularized-evolution", population=5, sample=200)
    for value in (1.0, 2.0, 9.0, 3.0, 4.0):
        strategy.tell(strategy.ask(), scored(value))
    members = strategy.population
    assert strategy.ask() in SPACE.neighbours(members[2])


def uniform_cell(value: int) -> Architecture:
    """The cell of one operation, which is told apart from others after any one edit."""
    return Architecture(SPACE.name, (value,) * 6)


def test_parents_are_the_best_of_a_sample_with_replacement() -> None:
    strategy = evolution("regularized-evolution", population=5, sample=3)
    for value in range(5):
        strategy.tell(uniform_cell(value), scored(float(value)))
    parents = [Counter(strategy.ask().values).most_common(1)[0][0] for _ in range(3000)]
    # P(best of k draws <= i of n) = (i / n)^k.
    law = np.diff((np.arange(6) / 5) ** 3)
    assert chisquare(np.bincount(parents, minlength=5), 3000 * law).pvalue > 1e-3


def test_children_have_two_parents_as_often_as_the_setting_says() -> None:
    mixed = []
    for crossover in (0.0, 0.2, 0.9):
        strategy = evolution("regularized-evolution", population=2, sample=1, crossover=crossover)
        for value in (0, 1):
            strategy.tell(uniform_cell(value), scored(1.0))
        children = [strategy.ask().values for _ in range(2000)]
        mixed.append(sum(min(c.count(0), c.count(1)) > 1 for c in children))
    # The parents differ in half of the tournaments; then both values are there more than once
    # unless at most one of six, or two and an edit, comes from one parent.
    assert mixed[0] == 0
    assert mixed[1] / 2000 == pytest.approx(0.2 * 0.5 * 0.7, abs=0.02)
    assert mixed[2] / 2000 == pytest.approx(0.9 * 0.5 * 0.7, abs=0.04)


def test_failures_never_become_parents() -> None:
    strategy = evolution("regularized-evolution", population=3)
    for _ in range(10):
        strategy.tell(strategy.ask(), Measurement.failed("NaN"))
    assert strategy.population == ()


def test_minimising_turns_the_order_round() -> None:
    strategy = create("non-aging-evolution", SPACE, 0, (Objective("loss", maximise=False),))
    assert isinstance(strategy, Evolution)
    told = []
    for value in range(30):
        told.append(strategy.ask())
        strategy.tell(told[-1], Measurement({"loss": float(value)}))
    assert set(strategy.population) == set(told[:10])


def test_a_crossed_child_takes_each_value_from_a_parent_as_far_as_the_mask_allows() -> None:
    space, stream = get("nasbench201"), Stream(0)
    first, second = space.at(11), space.at(9000)
    children = [crossed(space, first, second, stream) for _ in range(300)]
    for i, pair in enumerate(zip(first.values, second.values, strict=True)):
        found = [child.values[i] for child in children]
        assert set(found) == set(pair)
        if pair[0] != pair[1]:
            assert 100 < found.count(pair[0]) < 200
    masked, rng = VariableDepth(), np.random.default_rng(0)
    for _ in range(100):
        pair = masked.sample(rng), masked.sample(rng)
        masked.validate(crossed(masked, *pair, stream))


@pytest.mark.parametrize("name", ["regularized-evolution", "non-aging-evolution"])
def test_with_crossover_replicates_are_the_sequential_strategy(name: str) -> None:
    space = get("transnas101-micro")
    rewards = np.random.default_rng(0).random(space.size)
    together = replicate(name, space, rewards, [0, 1], 40, crossover=0.7)
    assert together[1].tolist() == one_replicate(name, space, rewards, 1, 40, crossover=0.7)
    plain = replicate(name, space, rewards, [0, 1], 40)
    assert together.tolist() != plain.tolist()


def test_a_crossover_out_of_range_is_refused() -> None:
    with pytest.raises(InputError, match=r"setting .crossover. is 1.5; accepted"):
        create("regularized-evolution", get("nasbench201"), crossover=1.5)
