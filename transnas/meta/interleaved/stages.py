"""The stages of one outer iteration: M rounds over K tasks, by one formula and no special case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Stage", "Summed", "stages"]


@dataclass(frozen=True, slots=True)
class Stage:
    """Stage t = 1..MK: in `round` (from 1), `task` learns; knowledge comes from `previous`."""

    t: int
    round: int
    task: int
    previous: int | None
    """Task of stage t - 1; None: there is none."""


@dataclass(frozen=True, slots=True)
class Summed:
    """A round without stages: one step of all tasks on the sum of their losses."""

    round: int


def stages(
    rounds: int, order: Callable[[int], Sequence[int]], carried: int | None = None
) -> list[Stage]:
    """Return all stages of an iteration; `order(m)` lists the tasks of round m = 1..rounds.

    `carried` is the predecessor of the first stage: the last task of the iteration before, or
    None.
    """
    found: list[Stage] = []
    previous = carried
    for m in range(1, rounds + 1):
        for task in order(m):
            found.append(Stage(len(found) + 1, m, task, previous))
            previous = task
    return found
