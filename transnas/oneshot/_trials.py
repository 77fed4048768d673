"""One-shot searches as trials of a study: search, then train what was found alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transnas.evaluation import Cost, Evaluator, Found, Measurement
from transnas.evaluation.training import Progress, Stopped
from transnas.oneshot._registry import get
from transnas.oneshot._search import Result, begin, search
from transnas.oneshot._settings import Settings
from transnas.spaces import Architecture, Space
from transnas.strategies import Strategy
from transnas.tasks import Task

__all__ = ["Searching", "Unasked", "checkpoint_of"]

_LAST = ("supernet_accuracy", "derived_accuracy", "entropy", "skips", "parametric")
"""Metrics of the last epoch of a search that stand beside those of the trained network."""
_SPENT = ("search_seconds", "search_epochs")


class Unasked(Strategy):
    """Proposes random architectures, each the stand-in for what its trial's search will find."""

    max_objectives = sys.maxsize

    def ask(self) -> Architecture:
        return self.space.sample(self.rng)

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        """Learn nothing: one search says nothing to the next."""

    def state(self) -> dict[str, Any]:
        return {"rng": dict(self.rng.bit_generator.state)}

    def restore(self, state: dict[str, Any]) -> None:
        self.rng.bit_generator.state = state["rng"]


@dataclass(frozen=True)
class Searching(Evaluator):
    """A whole one-shot search under the evaluation's seed, then `alone` for what it found.

    The measurement is that of the architecture by itself; its cost and its curve hold both. A
    search that was interrupted goes on from its checkpoint in `folder`.
    """

    task: Task
    space: Space
    method: str
    settings: Settings
    alone: Evaluator
    device: str = "auto"
    skeleton: Mapping[str, Any] | None = None
    folder: Path | None = None
    progress: Progress | None = None

    def keeping(self, folder: Path | None) -> Evaluator:
        """See `Evaluator.keeping`."""
        return replace(self, folder=folder)

    def check(self) -> None:
        """Raise `InputError` if the method cannot search this space for this task."""
        from transnas.evaluation.training import workplace

        at = workplace("cpu")
        begin(self.task, self.space, get(self.method), self.settings, self.skeleton, 0, at)

    def reports(self) -> frozenset[str] | None:
        """See `Evaluator.reports`."""
        inside = self.alone.reports()
        return None if inside is None else inside | {*_LAST, *_SPENT}

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Search, and measure what was found with `budget`; `arch` is not looked at."""
        path = None if self.folder is None else checkpoint_of(self.folder, seed)
        started = time.perf_counter()
        try:
            result = search(
                self.task,
                self.space,
                self.method,
                self.settings,
                skeleton=self.skeleton,
                seed=seed,
                device=self.device,
                checkpoint=path,
                progress=self.progress,
            )
        except Stopped as stopped:
            cost = Cost(time.perf_counter() - started, len(stopped.curve))
            return Measurement({}, cost, "failed", str(stopped), tuple(stopped.curve))
        return _joined(result, self.alone.evaluate(result.architecture, budget, seed))


def checkpoint_of(folder: Path, seed: int) -> Path:
    """Return the checkpoint of the trial whose evaluation has this seed."""
    return folder / f"search-{seed}.safetensors"


def _joined(result: Result, alone: Measurement) -> Measurement:
    """Return the measurement of the found architecture with the search before it."""
    epochs = len(result.curve)
    last = {name: result.curve[-1][name] for name in _LAST if name in result.curve[-1]}
    spent = dict(zip(_SPENT, (result.seconds, float(epochs)), strict=True))
    cost = alone.cost
    record = {"shares": result.shares, "derived": result.derived}
    return replace(
        alone,
        metrics={**alone.metrics, **last, **spent},
        cost=Cost(cost.seconds + result.seconds, cost.epochs + epochs, cost.device),
        curve=(*result.curve, *alone.curve),
        found=Found(result.architecture, record),
    )
