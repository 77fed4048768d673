"""Local search: it climbs, stops at local maxima, starts again, and repeats nothing."""

from __future__ import annotations

import pytest

from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, get
from transnas.strategies import create
from transnas.testing.strategies import Mixed, Tiny, VariableDepth

SPACE = get("nasbench201")
NAMES = ["local-search", "local-search-best"]


def height(arch: Architecture) -> float:
    """A hill with one top: every edit towards all-threes improves."""
    return -float(sum((v - 3) ** 2 for v in arch.values))


def run(name: str, queries: int, seed: int = 0) -> list[Architecture]:
    strategy = create(name, SPACE, seed, (Objective("score"),))
    asked = []
    for _ in range(queries):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], Measurement({"score": height(asked[-1])}))
    return asked


@pytest.mark.parametrize("name", NAMES)
def test_it_climbs_to_the_top_of_a_hill(name: str) -> None:
    for seed in range(10):
        assert max(map(height, run(name, 150, seed))) == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_asked_twice(name: str) -> None:
    asked = run(name, 800)
    assert len(set(asked)) == len(asked)


def test_first_improvement_moves_at_once() -> None:
    asked = run("local-search", 60)
    current = asked[0]
    for arch in asked[1:]:
        assert arch in SPACE.neighbours(current)
        current = max(current, arch, key=height)
        if height(current) == 0.0:
            break


def test_best_improvement_tries_all_neighbours_first() -> None:
    asked = run("local-search-best", 25)
    assert set(asked[1:]) == set(SPACE.neighbours(asked[0]))
    following = run("local-search-best", 26)[-1]
    assert following in SPACE.neighbours(max(asked, key=height))


@pytest.mark.parametrize("name", NAMES)
def test_at_a_local_maximum_it_starts_again(name: str) -> None:
    # On a plain nothing improves: a start, its 24 neighbours, and another start.
    strategy = create(name, SPACE, 1, (Objective("score"),))
    asked = []
    for _ in range(26):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], Measurement({"score": 1.0}))
    assert set(asked[1:25]) == set(SPACE.neighbours(asked[0]))
    assert asked[25] not in SPACE.neighbours(asked[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("space", [Tiny(), VariableDepth()])
def test_it_finds_everything_in_the_end(name: str, space: Tiny | VariableDepth) -> None:
    strategy = create(name, space, 0, (Objective("score"),))
    for _ in range(space.size):
        strategy.tell(arch := strategy.ask(), Measurement({"score": float(sum(arch.values))}))


def test_a_better_stranger_is_moved_to() -> None:
    strategy = create("local-search", SPACE, 0, (Objective("score"),))
    strategy.tell(strategy.ask(), Measurement({"score": 1.0}))
    stranger = SPACE.at(6111)
    strategy.tell(stranger, Measurement({"score": 2.0}))
    assert strategy.ask() in SPACE.neighbours(stranger)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_told_before_the_first_start_is_climbed_from(name: str) -> None:
    strategy = create(name, SPACE, 0, (Objective("score"),))
    told = [SPACE.at(i) for i in (3, 6111, 9)]
    for arch, value in zip(told, (1.0, 3.0, 2.0), strict=True):
        strategy.tell(arch, Measurement({"score": value}))
    around = [strategy.ask() for _ in range(24)]
    assert set(around) == set(SPACE.neighbours(told[1]))


def test_a_worse_start_does_not_end_a_climb_and_one_that_was_told_is_none() -> None:
    strategy = create("local-search", SPACE, 0, (Objective("score"),))
    first, second = strategy.ask(), strategy.ask()
    strategy.tell(first, Measurement({"score": 2.0}))
    strategy.tell(second, Measurement({"score": 1.0}))
    around = [strategy.ask() for _ in range(24)]
    assert set(around) | {second} >= set(SPACE.neighbours(first))
    strategy.tell(first, Measurement({"score": 0.5}))
    worse = SPACE.at(6111)
    strategy.tell(worse, Measurement({"score": 1.5}))
    assert strategy.ask() not in SPACE.neighbours(worse)


@pytest.mark.parametrize("name", NAMES)
def test_numbers_are_moved_by_four_mutants_a_range(name: str) -> None:
    space = Mixed()
    strategy = create(name, space, 0, (Objective("score"),))
    start = strategy.ask()
    strategy.tell(start, Measurement({"score": 1.0}))
    around = [strategy.ask() for _ in range(2 + 4 * 2)]
    moved = [arch for arch in around if arch.numbers != start.numbers]
    assert set(space.neighbours(start)) <= set(around)
    assert moved
    for arch in moved[:-2]:  # edits that come up twice leave room for a start or two
        assert arch.values == start.values
        assert sum(a != b for a, b in zip(arch.numbers, start.numbers, strict=True)) == 1


def test_a_start_that_is_told_late_does_not_end_a_climb() -> None:
    strategy = create("local-search-best", SPACE, 1, (Objective("score"),))
    first = strategy.ask()
    strategy.tell(first, Measurement({"score": 1.0}))
    around = [strategy.ask() for _ in SPACE.neighbours(first)]
    late = strategy.ask()  # the last neighbour is still measured
    for arch in around[:-1]:
        strategy.tell(arch, Measurement({"score": 0.0}))
    strategy.tell(around[-1], Measurement({"score": 3.0}))
    strategy.tell(late, Measurement({"score": 2.0}))
    assert strategy.ask() in SPACE.neighbours(around[-1])
