"""Replicates run together equal the sequential strategy, seed by seed and query by query."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from transnas import InputError
from transnas.spaces import Architecture, Choice, Space, get
from transnas.strategies import replicate
from transnas.strategies._replicates import one_replicate
from transnas.strategies._tables import neighbourhood
from transnas.testing.strategies import Tiny, VariableDepth

SEEDS = [0, 1, 2, 5, 11, 12345, 2**33]

CASES: list[tuple[str, dict[str, Any]]] = [
    ("random", {}),
    ("regularized-evolution", {}),
    ("regularized-evolution", {"sample": 5}),
    ("regularized-evolution", {"population": 4, "sample": 10}),
    ("regularized-evolution", {"population": 1, "sample": 1}),
    ("non-aging-evolution", {}),
    ("non-aging-evolution", {"population": 5, "sample": 2}),
    ("local-search", {}),
    ("local-search-best", {}),
    ("reinforce", {}),
    ("reinforce", {"learning_rate": 0.1, "entropy": 0.2, "momentum": 0.5}),
]


def table(space: Space, failures: float) -> npt.NDArray[np.float64]:
    """Return made-up rewards with ties, some of them failed."""
    rng = np.random.default_rng(0)
    codes = np.array([a.values for a in space.architectures()])
    rewards = np.round(codes.sum(axis=1) + rng.normal(size=space.size), 1)
    rewards[rng.random(space.size) < failures] = np.nan
    return rewards


@pytest.mark.parametrize("failures", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("space", [get("nasbench201"), VariableDepth(), Tiny()])
@pytest.mark.parametrize(("name", "settings"), CASES)
def test_together_equals_one_by_one(
    name: str, settings: dict[str, Any], space: Space, failures: float
) -> None:
    rewards = table(space, failures)
    together = replicate(name, space, rewards, SEEDS, 70, **settings)
    each = [one_replicate(name, space, rewards, seed, 70, **settings) for seed in SEEDS]
    assert together.shape == (len(SEEDS), 70)
    assert together.dtype == np.int64
    assert together.tolist() == each


@pytest.mark.parametrize("name", ["random", "regularized-evolution", "local-search", "reinforce"])
def test_no_replicates_and_no_queries(name: str) -> None:
    space = Tiny()
    assert replicate(name, space, table(space, 0), [], 5).shape == (0, 5)
    assert replicate(name, space, table(space, 0), [1, 2], 0).shape == (2, 0)


class Single(Space):
    """One architecture, without neighbours."""

    name = "single"
    choices = (Choice("op", ("a",)),)


class LawOfItsOwn(Tiny):
    """A space that mutates the width only, which tables know nothing of."""

    name = "law-of-its-own"

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        return Architecture(self.name, (arch.values[0], 1 - arch.values[1]))


@pytest.mark.parametrize(
    "name", ["random", "regularized-evolution", "non-aging-evolution", "local-search"]
)
def test_a_space_of_one_architecture(name: str) -> None:
    space = Single()
    assert replicate(name, space, np.ones(1), [3], 12).tolist() == [
        one_replicate(name, space, np.ones(1), 3, 12)
    ]


def test_strategies_with_budgets_of_their_own_are_refused() -> None:
    with pytest.raises(InputError, match="'hyperband' chooses the epochs of each training"):
        replicate("hyperband", Tiny(), np.zeros(Tiny().size), range(2), 3)


def test_a_mutation_law_of_the_space_is_obeyed() -> None:
    space = LawOfItsOwn()
    asked = replicate("regularized-evolution", space, np.arange(6.0), range(9), 40, population=1)
    ops = np.array([[space.at(i).values[0] for i in row] for row in asked])
    assert (ops == ops[:, :1]).all()


@pytest.mark.parametrize("space", [get("nasbench201"), VariableDepth(), Tiny(), Single()])
def test_the_neighbourhood_lists_what_the_space_lists(space: Space) -> None:
    near = neighbourhood(space)
    for i in range(0, space.size, 97):
        listed = [space.index(n) for n in space.neighbours(space.at(i))]
        assert near.table[i, : near.degree[i]].tolist() == listed
        assert (near.table[i, near.degree[i] :] == -1).all()
