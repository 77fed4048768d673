"""What a running search shows: the incumbent, trials, cost, speed, and the time left."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live

from transnas.evaluation import Objective
from transnas.studies._duration import duration
from transnas.studies._study import Study
from transnas.studies._trial import Trial

__all__ = ["Progress"]

LIVE_INTERVAL = 0.2
"""Seconds between two drawings on a terminal."""
PLAIN_INTERVAL = 10.0
"""Seconds between two lines where there is no terminal."""


class Progress:
    """One line on standard error that says how a search stands.

    On a terminal the line is redrawn in place; elsewhere, if asked for, a line is printed every
    ten seconds. `shown` None means: only on a terminal.
    """

    def __init__(self, name: str, wanted: int, objective: Objective, shown: bool | None) -> None:
        self._name = name
        self._wanted = wanted
        self._objective = objective
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._shown = self._console.is_terminal if shown is None else shown
        self._live: Live | None = None
        self._done = self._failed = self._new = 0
        self._cost = 0.0
        self._best = math.nan
        self._next = 0.0

    @contextmanager
    def running(self, study: Study) -> Iterator[None]:
        """Show the line while the block runs."""
        for trial in study.trials:
            self._count(trial)
        self._started = time.monotonic()
        self._new = 0
        if not self._shown:
            yield
        elif not self._console.is_terminal:
            self._next = self._started + PLAIN_INTERVAL
            yield
        else:
            with Live(self.line(), console=self._console, auto_refresh=False) as self._live:
                yield
                self._live.update(self.line(), refresh=True)

    def trial(self, trial: Trial) -> None:
        """Take in a told trial."""
        self._count(trial)
        if not self._shown:
            return
        moment = time.monotonic()
        if moment < self._next:
            return
        if self._live is not None:
            self._live.update(self.line(), refresh=True)
            self._next = moment + LIVE_INTERVAL
        else:
            print(self.line(), file=sys.stderr, flush=True)
            self._next = moment + PLAIN_INTERVAL

    def end(self, study: Study) -> None:
        """Say how the run ended."""
        if not self._shown and not study.interrupted:
            return
        if study.interrupted:
            print(
                f"{self._name}: stopped after {self._done} of {self._wanted} trials, "
                f"{self._incumbent()}; the same command continues",
                file=sys.stderr,
            )
        elif not self._console.is_terminal:
            print(self.line(), file=sys.stderr, flush=True)

    def line(self) -> str:
        """Return the present state as one line."""
        parts = [
            f"{self._name}: {self._done}/{self._wanted} trials",
            self._incumbent(),
            f"cost {duration(self._cost)}",
        ]
        if self._failed:
            parts.insert(1, f"{self._failed} failed")
        if self._new:
            speed = self._new / max(time.monotonic() - self._started, 1e-9)
            left = (self._wanted - self._done) / speed
            parts += [f"{speed:.3g} trials/s", f"{duration(left)} left"]
        return ", ".join(parts)

    def _incumbent(self) -> str:
        best = "none yet" if math.isnan(self._best) else f"{self._best:.4g}"
        return f"best {self._objective.metric} {best}"

    def _count(self, trial: Trial) -> None:
        self._done += 1
        self._new += 1
        self._failed += trial.status == "failed"
        self._cost += trial.measurement.cost.seconds
        if trial.status == "complete":
            value = self._objective.value(trial.measurement)
            better = max if self._objective.maximise else min
            self._best = value if math.isnan(self._best) else better(self._best, value)
