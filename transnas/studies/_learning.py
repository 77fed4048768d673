"""What a running meta-training shows, and the measurements that it counts."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from transnas.meta.catch.families import Evaluate, Floats, TaskFamily
from transnas.studies._duration import duration
from transnas.studies._errors import SearchError
from transnas.studies._progress import LIVE_INTERVAL, PLAIN_INTERVAL

if TYPE_CHECKING:
    from transnas.meta.catch.coding import Codes

__all__ = ["Learning", "Watched"]


class Learning:
    """One line on standard error: how many of `total` units are done, and the time left.

    In place on a terminal, else a line every ten seconds; `shown` None: only on a terminal.
    """

    def __init__(
        self, name: str, total: int, shown: bool | None, unit: str = "measurements"
    ) -> None:
        self._name = name
        self._unit = unit
        self._total = total
        self._terminal = sys.stderr.isatty()
        self._shown = self._terminal if shown is None else shown
        self._begun: int | None = None
        self._next = 0.0

    def __enter__(self) -> Learning:
        self._started = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shown and self._terminal and self._begun is not None:
            print(file=sys.stderr)

    def at(self, done: int) -> None:
        """Take in that `done` units are there, earlier calls' included."""
        if self._begun is None:
            self._begun = done - 1
        moment = time.monotonic()
        if not self._shown or (moment < self._next and done < self._total):
            return
        self._next = moment + (LIVE_INTERVAL if self._terminal else PLAIN_INTERVAL)
        left = (moment - self._started) / (done - self._begun) * (self._total - done)
        line = f"{self._name}: {done}/{self._total} {self._unit}, {duration(left)} left"
        print(
            f"\r{line}\x1b[K" if self._terminal else line,
            end="" if self._terminal else "\n",
            file=sys.stderr,
            flush=True,
        )


class Watched(TaskFamily):
    """A family whose measurements are counted; a first task without any finite one ends it."""

    def __init__(self, family: TaskFamily, queries: int, at: Callable[[int], None]) -> None:
        self.space = family.space
        self._family = family
        self._queries = queries
        self._at = at

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        """Return the family's rewards, counted."""
        evaluate = self._family.tasks(seeds, epoch)
        done, known = epoch * self._queries, 0

        def rewards(codes: Codes) -> Floats:
            nonlocal done, known
            replayed = self._family.measured_before(seeds, epoch, codes)
            found = evaluate(codes)
            done, known = done + 1, known + int(np.isfinite(found).sum())
            if epoch == 0 and known == 0 and done == self._queries:
                raise SearchError(
                    f"meta-training: none of {done} networks of the first task could be measured"
                )
            if not replayed:  # which took no time, and would make the time left too short
                self._at(done)
            return found

        return rewards

    def describe(self) -> dict[str, Any]:
        """Return what the family is."""
        return self._family.describe()
