"""What a search leaves behind: losses of each task and round, gradients, cost; plain data."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Cost", "History"]

_POINTS = 400
"""Points of a curve at most; longer searches are averaged over windows."""


@dataclass
class Cost:
    """What was computed, in passes through an encoder and in images; counted, not estimated."""

    training_passes: int = 0
    validation_passes: int = 0
    student_passes: int = 0
    """Passes of matched sets with a gradient."""
    teacher_passes: int = 0
    images: int = 0
    """Images of training and validation batches."""
    matched_images: int = 0
    """Images of matched sets, student and teacher together."""
    seconds: float = 0.0
    transfer_seconds: float = 0.0
    """Of these, the transfer term's (its forward passes and the drawing of its sets)."""
    task_seconds: dict[str, float] = field(default_factory=dict)
    """Seconds of each task's stages."""

    @property
    def passes(self) -> int:
        """All passes but the matched ones."""
        return self.training_passes + self.validation_passes


class History:
    """Averages over windows of iterations: `points` is a list of plain mappings.

    A point has `iteration` (its last), `tasks` (name to `train` and `transfer` losses, one a
    round, `validation`, `score`, `gradient`), `cosines` of the pairs of tasks, `entropy` of the
    architecture in nats an edge, and what the transfer terms log.
    """

    def __init__(self, names: list[str], iterations: int) -> None:
        self.names = names
        self.every = max(1, iterations // _POINTS)
        self.points: list[dict[str, Any]] = []
        self.events: list[str] = []
        """Sentences about what went wrong, in order."""
        self._sums: dict[str, list[float]] = defaultdict(list)

    def add(self, key: str, value: float | Tensor) -> None:
        """Take one value of `key`, e.g. `usps/train/1`."""
        self._sums[key].append(float(value))

    def end(self, iteration: int, last: bool) -> dict[str, Any] | None:
        """Close iteration number `iteration` (from 1); return the point if a window ends."""
        if iteration % self.every and not last:
            return None
        means = {k: _mean(v) for k, v in self._sums.items()}
        self._sums.clear()
        point: dict[str, Any] = {"iteration": iteration, "tasks": {n: {} for n in self.names}}
        for key, value in means.items():
            # Names of tasks may have slashes, and one may begin as another does.
            of = [name for name in self.names if key.startswith(f"{name}/")]
            if of:
                name = max(of, key=len)
                point["tasks"][name][key[len(name) + 1 :]] = value
            else:
                point[key] = value
        self.points.append(point)
        return point

    def state(self) -> dict[str, Any]:
        """Return all that was taken."""
        return {"points": self.points, "events": self.events, "sums": dict(self._sums)}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.points, self.events = list(state["points"]), list(state["events"])
        self._sums = defaultdict(list, {k: list(v) for k, v in state["sums"].items()})


def _mean(values: list[float]) -> float | None:
    finite = [v for v in values if math.isfinite(v)]
    return sum(finite) / len(finite) if finite else None
