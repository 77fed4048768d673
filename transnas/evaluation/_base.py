"""What an evaluation is: an architecture, a budget and a seed in; a measurement out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from transnas.spaces import Architecture

__all__ = ["Cost", "Evaluator", "Found", "Measurement", "Objective", "Status"]

Status = Literal["complete", "failed", "pruned"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What a measurement took: seconds of training (simulated for tables), epochs, and where."""

    seconds: float = 0.0
    epochs: float = 0.0
    device: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """The architecture that a search within an evaluation put in the place of the one asked for.

    `record` is JSON data on how it was found.
    """

    architecture: Architecture
    record: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurement:
    """How good one architecture was found to be.

    `metrics` are plain floats by name (`validation_accuracy` in 0..1, ...); `curve` holds one
    such mapping an epoch; a failed measurement says why in `error`. `found` is there if the
    measurement is of another architecture than was asked for.
    """

    metrics: Mapping[str, float] = field(default_factory=dict)
    cost: Cost = Cost()
    status: Status = "complete"
    error: str = ""
    curve: tuple[Mapping[str, float], ...] = ()
    found: Found | None = None

    @classmethod
    def failed(cls, error: str, cost: Cost = Cost()) -> Measurement:
        """Return the measurement of a trial that gave no result, with the reason."""
        return cls(cost=cost, status="failed", error=error)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data."""
        plain = {
            **asdict(self),
            "metrics": dict(self.metrics),
            "curve": [dict(c) for c in self.curve],
        }
        if self.found is None:
            del plain["found"]
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Measurement:
        """Inverse of `to_dict`."""
        return cls(
            metrics=dict(data["metrics"]),
            cost=Cost(**data["cost"]),
            status=data["status"],
            error=data["error"],
            curve=tuple(dict(c) for c in data["curve"]),
            found=_found(data["found"]) if "found" in data else None,
        )


def _found(data: Mapping[str, Any]) -> Found:
    """Inverse of `asdict(found)`."""
    arch = data["architecture"]
    values, numbers = tuple(arch["values"]), tuple(arch["numbers"])
    return Found(Architecture(arch["space"], values, numbers), data["record"])


@dataclass(frozen=True, slots=True)
class Objective:
    """A metric and its direction."""

    metric: str = "validation_accuracy"
    maximise: bool = True

    def __str__(self) -> str:
        """The objective as the command line takes it: `metric` or `metric:min`."""
        return self.metric if self.maximise else f"{self.metric}:min"

    def value(self, measurement: Measurement) -> float:
        """Return the metric; NaN if the measurement failed or does not have it."""
        if measurement.status == "failed":
            return math.nan
        return float(measurement.metrics.get(self.metric, math.nan))

    def reward(self, measurement: Measurement) -> float:
        """Return the value with the sign that makes greater better; NaN means no result."""
        value = self.value(measurement)
        if not math.isfinite(value):
            return math.nan
        return value if self.maximise else -value


class Evaluator(ABC):
    """Measures architectures on one task. Pure: no hidden state between calls.

    Evaluators are pickled to worker processes, so they hold plain data and load what is heavy
    on first use.
    """

    @property
    def label(self) -> str:
        """What a study records, so that it is not resumed with another way of measuring."""
        return type(self).__name__

    @abstractmethod
    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Measure `arch` with `budget` epochs (None: the evaluator's default) under `seed`.

        Raises `InputError` for an architecture of another space or a budget that it does not
        have; anything that goes wrong *inside* a measurement (NaN, out of memory) is returned as
        a failed measurement or raised and stored as such by the study.
        """

    def reports(self) -> frozenset[str] | None:
        """Return the names of the metrics that it can measure; None: it does not say.

        An objective that is not among them is refused before any work, and not after the first
        measurement: who measures more than its base class adds to what that returns.
        """
        return None

    def parts(self) -> tuple[Evaluator, ...]:
        """Return the evaluators that this one is made of; itself if it is made of no others."""
        return (self,)

    def within(self, change: Callable[[Evaluator], Evaluator]) -> Evaluator:
        """Return the evaluator with `change` made to each of its `parts`."""
        return change(self)

    def keeping(self, folder: Path | None) -> Evaluator:
        """Return the evaluator that may keep in `folder` what an interrupted one goes on from.

        None is a study without a place for it. Most evaluators begin again, and keep nothing.
        """
        return self
