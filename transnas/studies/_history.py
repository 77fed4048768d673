"""A strategy and the exact sequence of its asks and tells, which a resumed run goes through."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Space
from transnas.strategies import Exhausted, Strategy
from transnas.studies._trial import Entry

__all__ = ["History", "replayed"]

SNAPSHOT_AFTER = 1.0
"""Seconds of asks and tells that are worth a snapshot."""


class History:
    """Counts asks and tells, and knows which asks are still to be told.

    Strategies are deterministic, so the recorded order of asks and tells is their whole state.
    """

    def __init__(self, strategy: Strategy, space: Space) -> None:
        self.strategy = strategy
        self.space = space
        self.asked = 0
        self.told = 0
        self.pending: dict[int, Architecture] = {}
        self._spent = 0.0
        self._snapshot_cost = 0.0

    def ask(self) -> int:
        """Ask the strategy; the new architecture is `pending` under the returned index.

        Raises `Exhausted` if there is none.
        """
        start = time.perf_counter()
        self.pending[self.asked] = self.strategy.ask()
        self._spent += time.perf_counter() - start
        self.asked += 1
        return self.asked - 1

    def tell(self, ask: int, measurement: Measurement) -> None:
        """Tell the strategy what the architecture of that ask was measured to be."""
        start = time.perf_counter()
        self.strategy.tell(self.pending.pop(ask), measurement)
        self._spent += time.perf_counter() - start
        self.told += 1

    # Snapshots ------------------------------------------------------------------------------

    def snapshot(self) -> dict[str, Any] | None:
        """Return the state as JSON data when replaying since the last one would be slow."""
        if self._spent < max(SNAPSHOT_AFTER, 20 * self._snapshot_cost):
            return None
        start = time.perf_counter()
        taken = {
            "asked": self.asked,
            "told": self.told,
            "pending": {str(i): self.space.to_text(a) for i, a in self.pending.items()},
            # As text at once: the state may share lists with the running strategy.
            "state": json.dumps(self.strategy.state()),
        }
        self._snapshot_cost = time.perf_counter() - start
        self._spent = 0.0
        return taken

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Continue from a snapshot."""
        self.asked, self.told = snapshot["asked"], snapshot["told"]
        self.pending = {int(i): self.space.from_text(t) for i, t in snapshot["pending"].items()}
        self.strategy.restore(json.loads(snapshot["state"]))


def replayed(
    create: Callable[[], Strategy], space: Space, entries: Sequence[Entry], snapshot: Any
) -> History:
    """Return the history that `entries` record, with the strategy in the state they left.

    If the strategy proposes something else than it did then (another version of it), a new one
    is told all trials in order, with a warning.
    """
    history = History(create(), space)
    if snapshot is not None and snapshot["told"] <= len(entries):
        history.restore(snapshot)
    if _replay(history, entries):
        return history
    warnings.warn(
        "the strategy proposes other architectures than when this study was begun (another "
        "version of it?); it continues from the recorded trials, but not exactly as it would have",
        RuntimeWarning,
        stacklevel=2,
    )
    history = History(create(), space)
    for entry in entries:
        history.strategy.tell(entry.trial.architecture, entry.trial.measurement)
    history.told = len(entries)
    history.asked = max(entry.asked for entry in entries)
    return history


def _replay(history: History, entries: Sequence[Entry]) -> bool:
    """Go through asks and tells in their recorded order; False if the asks differ."""
    for entry in entries[history.told :]:
        try:
            while history.asked < entry.asked:
                history.ask()
        except Exhausted:
            return False
        trial = entry.trial
        searched = trial.measurement.found is not None  # it does not show what was asked for
        if not searched and history.pending.get(trial.ask) != trial.architecture:
            return False
        history.tell(trial.ask, trial.measurement)
    return True
