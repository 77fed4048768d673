"""Replicates: many seeds of one strategy on one table, run together.

A strategy may register a vectorised version of itself; replicate i of it equals the sequential
strategy with the i-th seed, query by query. Where there is none, or the space has laws of its own
for sampling or mutation, `replicate` runs the sequential strategy seed after seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Space
from transnas.strategies._base import Exhausted, Strategy
from transnas.strategies._draws import listable, moves_by_number
from transnas.strategies._registry import create, get
from transnas.strategies.settings import settings_from

__all__ = ["Replicated", "register_replicated", "replicate", "require_one_budget"]


class Replicated(Protocol):
    """A vectorised strategy on an enumerable space."""

    def __call__(
        self,
        space: Space,
        rewards: npt.NDArray[np.float64],
        seeds: Sequence[int],
        queries: int,
        settings: Any,
    ) -> npt.NDArray[np.int64]:
        """Return the `space.index` of each query, [len(seeds), queries].

        `rewards` [space.size] is greater-is-better by index, NaN for a failed evaluation. A
        replicate whose strategy is exhausted repeats -1 from there on.
        """
        ...


_REPLICATED: dict[str, Replicated] = {}


def register_replicated(name: str) -> Callable[[Replicated], Replicated]:
    """Return a decorator that enters the vectorised version of strategy `name`."""

    def enter(run: Replicated) -> Replicated:
        _REPLICATED[name] = run
        return run

    return enter


def replicate(
    name: str,
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    **settings: Any,
) -> npt.NDArray[np.int64]:
    """Run strategy `name` once a seed against a table of rewards; see `Replicated`."""
    cls = get(name)
    if name in _REPLICATED and listable(space) and moves_by_number(space):
        known = np.where(np.isfinite(rewards), rewards, np.nan)
        return _REPLICATED[name](space, known, seeds, queries, settings_from(cls, settings))
    runs = [one_replicate(name, space, rewards, seed, queries, **settings) for seed in seeds]
    return np.array(runs, dtype=np.int64)


def require_one_budget(name: str, strategy: Strategy) -> None:
    """Raise `InputError` for a strategy whose queries differ in epochs: the rewards are of one."""
    if strategy.full_budget is not None:
        raise InputError(
            f"strategy {name!r} chooses the epochs of each training, and replicates on a table "
            "have one number of epochs; accepted: strategies without budgets of their own"
        )


def one_replicate(
    name: str,
    space: Space,
    rewards: npt.NDArray[np.float64],
    seed: int,
    queries: int,
    **settings: Any,
) -> list[int]:
    """Run the sequential strategy with one seed; the oracle of every vectorised version."""
    objective = Objective("reward")
    strategy = create(name, space, seed, (objective,), **settings)
    require_one_budget(name, strategy)
    asked: list[int] = []
    for _ in range(queries):
        try:
            arch = strategy.ask()
        except Exhausted:
            break
        index = space.index(arch)
        asked.append(index)
        reward = float(rewards[index])
        told = Measurement.failed("NaN in the table") if np.isnan(reward) else None
        strategy.tell(arch, told or Measurement({"reward": reward}))
    return asked + [-1] * (queries - len(asked))
