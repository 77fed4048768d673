"""Random, grid and Sobol: what they cover, and in which order."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
import pytest
from scipy import stats

from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Choice, Range, Space, get
from transnas.strategies import Exhausted, Strategy, create
from transnas.testing.strategies import Mixed, Tiny, VariableDepth


def proposals(strategy: Strategy) -> Iterator[Architecture]:
    while True:
        try:
            yield strategy.ask()
        except Exhausted:
            return


@pytest.mark.parametrize("space", [Tiny(), VariableDepth()])
@pytest.mark.parametrize("name", ["random", "grid", "sobol", "optuna-random", "tpe"])
def test_everything_once(name: str, space: Space) -> None:
    found = list(proposals(create(name, space, 3)))
    assert len(found) == space.size
    assert set(found) == set(space.architectures())


@pytest.mark.parametrize("name", ["random", "grid", "sobol", "local-search", "tpe"])
def test_what_was_told_is_not_asked_for(name: str) -> None:
    strategy = create(name, Tiny(), 0)
    for i in (0, 3):
        strategy.tell(Tiny().at(i), Measurement({"validation_accuracy": 0.5}))
    state, strategy = json.loads(json.dumps(strategy.state())), create(name, Tiny(), 0)
    strategy.restore(state)
    assert sorted(Tiny().index(a) for a in proposals(strategy)) == [1, 2, 4, 5]


def test_random_differs_between_seeds_and_is_uniform() -> None:
    space = get("nasbench201")
    first = [space.index(create("random", space, seed).ask()) for seed in range(3000)]
    assert stats.chisquare(np.bincount(np.array(first) // 625)).pvalue > 1e-3


def test_a_grid_combines_choices_and_levels() -> None:
    found = list(proposals(create("grid", Mixed(), 0, levels=3)))
    assert len(found) == len(set(found)) == 3 * 3 * 3
    assert sorted({a.numbers[0] for a in found}) == pytest.approx([1e-3, 10**-1.5, 1.0])
    assert {a.numbers[1] for a in found} == {0.0, 0.5, 1.0}


def test_a_grid_of_one_level_takes_the_middle() -> None:
    assert next(proposals(create("grid", Mixed(), 0, levels=1))).numbers[1] == 0.5


class Square(Space):
    """Two numbers."""

    name = "square"
    choices = (Choice("op", ("a",)),)
    ranges = (Range("x", 0.0, 1.0), Range("y", 0.0, 1.0))


def test_sobol_points_fill_the_square_evenly() -> None:
    from scipy.stats import qmc

    strategy = create("sobol", Square(), 1)
    points = np.array([strategy.ask().numbers for _ in range(128)])
    assert qmc.discrepancy(points) < 0.3 * qmc.discrepancy(
        np.random.default_rng(0).random((128, 2))
    )
    # Each of the 8 x 16 elementary boxes holds exactly one of the first 128 points.
    boxes = np.floor(points * [8, 16]).astype(int)
    assert len({tuple(b) for b in boxes.tolist()}) == 128


def test_sobol_sequences_differ_between_seeds_and_go_on_where_they_were() -> None:
    first = [create("sobol", Square(), seed).ask() for seed in range(3)]
    assert len(set(first)) == 3
    strategy = create("sobol", Square(), 0)
    for _ in range(70):  # into the second block
        strategy.ask()
    other = create("sobol", Square(), 0)
    other.restore(json.loads(json.dumps(strategy.state())))
    assert [other.ask() for _ in range(70)] == [strategy.ask() for _ in range(70)]
