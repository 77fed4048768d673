"""Task families: where meta-training draws its tasks from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.evaluation.table import Table
from transnas.meta.catch.coding import Codes
from transnas.spaces import Architecture, Space
from transnas.tasks import TableTask

__all__ = ["Evaluate", "Subspace", "SyntheticFamily", "TableFamily", "TaskFamily", "turn"]

Floats = npt.NDArray[np.float64]
Evaluate = Callable[[Codes], Floats]
"""Codes [R, T] to rewards [R], greater is better, NaN for a failed trial."""


class TaskFamily(ABC):
    """Tasks with the same action space and other reward functions.

    `space` has the choices of the space that is learnt for; its mask may allow less of them.
    """

    space: Space

    @abstractmethod
    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        """Return the reward functions of the tasks that replicates with `seeds` train on next.

        Depends on the seed and `epoch` alone, so that training can be resumed.
        """

    def measured_before(self, seeds: Sequence[int], epoch: int, codes: Codes) -> bool:
        """Return whether an earlier call, interrupted since, has measured these rewards."""
        return False

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return what the family is, as plain JSON data; kept in the prior."""


def turn(seed: int, epoch: int, count: int) -> int:
    """Return which of `count` tasks is next: in random order, none again before all came up."""
    cycle, place = divmod(epoch, count)
    return int(np.random.default_rng([seed, cycle]).permutation(count)[place])


class Subspace(Space):
    """The architectures of `inner` in the choices of `outer`, which knows more values.

    Choices have the same names in both; values are matched by name. What `inner` does not have
    is masked.
    """

    def __init__(self, outer: Space, inner: Space) -> None:
        names = [c.name for c in outer.choices]
        missing = [
            f"{c.name}={v}"
            for i, c in enumerate(inner.choices)
            for v in c.values
            if names != [c.name for c in inner.choices] or v not in outer.choices[i].values
        ]
        if missing or len(names) != len(inner.choices):
            raise InputError(
                f"space {inner.name!r} has {missing[:1]} beside what space {outer.name!r} has; "
                "accepted: spaces with the same choices, and values that both have"
            )
        self.name = outer.name
        self.choices = outer.choices
        self.inner = inner
        pairs = list(zip(outer.choices, inner.choices, strict=True))
        self._inside = [
            [i.values.index(v) if v in i.values else -1 for v in o.values] for o, i in pairs
        ]
        self._outside = [[o.values.index(v) for v in i.values] for o, i in pairs]

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return the mask of `inner`, spread over the values of `outer`."""
        inside = np.array(self._inside[len(prefix)])
        allowed = self.inner.mask(self.translate(prefix))
        known: npt.NDArray[np.bool_] = (inside >= 0) & allowed[inside]
        return known

    def completions(self, prefix: Sequence[int]) -> int:
        """Return how many architectures of `inner` start with `prefix`."""
        return self.inner.completions(self.translate(prefix))

    def translate(self, codes: Sequence[int]) -> tuple[int, ...]:
        """Return codes of `outer`, or a prefix of them, as codes of `inner`."""
        return tuple(self._inside[t][code] for t, code in enumerate(codes))

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the representative of the class that `inner` puts `arch` in."""
        return self._spread(self.inner.canonical(self._within(arch)))

    def pruned(self, arch: Architecture) -> Architecture:
        """Return `arch` with what cannot influence the output as `inner` sets it."""
        return self._spread(self.inner.pruned(self._within(arch)))

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the operations along each path from input to output, as `inner` does."""
        return self.inner.paths(self._within(arch))

    def _within(self, arch: Architecture) -> Architecture:
        return Architecture(self.inner.name, self.translate(arch.values), arch.numbers)

    def _spread(self, arch: Architecture) -> Architecture:
        values = tuple(self._outside[t][code] for t, code in enumerate(arch.values))
        return Architecture(self.name, values, arch.numbers)


class TableFamily(TaskFamily):
    """Tasks whose rewards are known for every architecture of a space.

    `rewards` [K, inner.size] in the order of `inner.index`, measured after `budget` epochs (None:
    all of them). Tasks come in random order, none again before all came up.
    """

    def __init__(
        self,
        space: Space,
        rewards: Floats,
        names: Sequence[str],
        inner: Space | None = None,
        budget: int | None = None,
    ) -> None:
        inner = inner or space
        if rewards.shape != (len(names), inner.size):
            raise InputError(
                f"rewards have shape {rewards.shape}; accepted: {(len(names), inner.size)}, one "
                f"for each task and architecture of space {inner.name!r}"
            )
        for name, row in zip(names, rewards, strict=True):
            known = row[np.isfinite(row)]
            if len(known) == 0 or known.min() == known.max():
                raise InputError(
                    f"task {name!r} has the same reward, or none, for every architecture; "
                    "accepted: tasks with different rewards"
                )
        self.budget = budget
        self.inner = inner
        self.space = space if inner is space else Subspace(space, inner)
        self.rewards = rewards.astype(np.float64)
        self.names = tuple(names)

    @classmethod
    def of_tasks(
        cls, tasks: Sequence[TableTask], space: Space, budget: int | None = None
    ) -> TableFamily:
        """Return the family of benchmark columns, after `budget` epochs (None: all of them).

        Raises `InputError` for tasks of several tables, or of none that fits `space`.
        """
        from transnas import spaces

        tables = {t.space for t in tasks}
        if len(tables) != 1:
            raise InputError(
                f"a family's tasks are of tables {sorted(tables)}; accepted: one table, at least "
                "one task"
            )
        inner = spaces.get(tables.pop())
        rewards = np.stack([Table(t).rewards(budget=budget) for t in tasks])
        names = [t.name for t in tasks]
        return cls(space, rewards, names, None if inner is space else inner, budget)

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        chosen = [turn(seed, epoch, len(self.names)) for seed in seeds]
        return lambda codes: self.rewards[chosen, self._indices(codes)]

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "tables",
            "tasks": list(self.names),
            "space": self.inner.name,
            "budget": self.budget,
        }

    def _indices(self, codes: Codes) -> list[int]:
        space, found = self.space, []
        for row in codes.tolist():
            own = space.translate(row) if isinstance(space, Subspace) else tuple(row)
            found.append(self.inner.index(Architecture(self.inner.name, own)))
        return found


class SyntheticFamily(TaskFamily):
    """Tasks with a known answer: r(m) = <u, onehot(m)> + noise, u on a circle.

    The circle lies in a plane of R^D that `seed` draws; a task is an angle. With
    `variety` = 0 all tasks are the same, with 1 angles are uniform over the circle. Noise is
    N(0, `noise`^2), redrawn at every query.
    """

    def __init__(
        self, space: Space, seed: int = 0, noise: float = 0.1, variety: float = 1.0
    ) -> None:
        self.space = space
        self.seed, self.noise, self.variety = seed, noise, variety
        width = sum(len(c.values) for c in space.choices)
        self._offsets = np.cumsum([0, *(len(c.values) for c in space.choices)])[:-1]
        self._plane = np.linalg.qr(np.random.default_rng(seed).standard_normal((width, 2)))[0]
        self._plane *= np.sqrt(width)

    def directions(self, seeds: Sequence[int], epoch: int) -> Floats:
        """Return u of each replicate's task, [R, D]."""
        draws = np.array([np.random.default_rng([s, epoch]).random() for s in seeds])
        angles = 2 * np.pi * self.variety * draws
        found: Floats = np.stack([np.cos(angles), np.sin(angles)], axis=1) @ self._plane.T
        return found

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        u = self.directions(seeds, epoch)
        noise = [np.random.default_rng([s, epoch, self.seed]) for s in seeds]

        def rewards(codes: Codes) -> Floats:
            exact = np.take_along_axis(u, codes + self._offsets, axis=1).sum(axis=1)
            return np.asarray(exact + self.noise * np.array([g.standard_normal() for g in noise]))

        return rewards

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "synthetic",
            "seed": self.seed,
            "noise": self.noise,
            "variety": self.variety,
        }
