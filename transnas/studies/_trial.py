"""What is kept of one trial, and its form in an Optuna storage."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    distribution_to_json,
)

from transnas.evaluation import Measurement, Objective, Status
from transnas.spaces import Architecture, Space

__all__ = ["ATTRIBUTES", "Codec", "Entry", "Trial"]

ATTRIBUTES = ("architecture", "measurement", "run")
"""The user attributes of a trial; together they hold all that is read back."""

_STATES: dict[Status, str] = {"complete": "COMPLETE", "failed": "FAIL", "pruned": "PRUNED"}


@dataclass(frozen=True, slots=True)
class Trial:
    """One architecture with its measurement; `number` counts trials in the order of telling.

    `started` and `finished` are aware UTC times. `ask` is the index of the ask that proposed it,
    from which its evaluation's seed follows: with several workers, trials are told in another order
    than they were asked for.
    """

    number: int
    architecture: Architecture
    measurement: Measurement
    started: datetime
    finished: datetime
    ask: int

    @property
    def metrics(self) -> Mapping[str, float]:
        """The measured metrics by name."""
        return self.measurement.metrics

    @property
    def status(self) -> Status:
        """`complete`, `failed` or `pruned`."""
        return self.measurement.status


@dataclass(frozen=True, slots=True)
class Entry:
    """A told trial with its place in the strategy's history, from which that can be replayed.

    That is its `ask`, and `asked`, the number of asks before it was told.
    """

    trial: Trial
    asked: int


class Codec:
    """Turns entries of one study into Optuna's columns and back.

    The architecture's text is the truth when reading; parameters are written for Optuna's own
    tools, by value names, so that a space may later gain values.
    """

    def __init__(self, space: Space, objectives: Sequence[Objective]) -> None:
        self.space = space
        self.objectives = tuple(objectives)
        self.distributions: dict[str, BaseDistribution] = {
            **{c.name: CategoricalDistribution(c.values) for c in space.choices},
            **{r.name: FloatDistribution(r.low, r.high, log=r.log) for r in space.ranges},
        }
        self._columns = [(name, distribution_to_json(d)) for name, d in self.distributions.items()]
        self._known: dict[str, Architecture] = {}

    # Writing --------------------------------------------------------------------------------

    def state(self, entry: Entry) -> str:
        """Return the name of Optuna's trial state."""
        return _STATES[entry.trial.status]

    def values(self, entry: Entry) -> list[float]:
        """Return one value an objective; empty for a trial without result."""
        values = [o.value(entry.trial.measurement) for o in self.objectives]
        return values if all(map(math.isfinite, values)) else []

    def params(self, arch: Architecture) -> dict[str, Any]:
        """Return the architecture as Optuna's parameters: value names and numbers."""
        names = {c.name: c.values[v] for c, v in zip(self.space.choices, arch.values, strict=True)}
        numbers = {r.name: n for r, n in zip(self.space.ranges, arch.numbers, strict=True)}
        return {**names, **numbers}

    def columns(self, arch: Architecture) -> list[tuple[str, str, float]]:
        """Return (name, distribution as JSON, internal value) of each parameter."""
        internal = (*arch.values, *arch.numbers)
        return [
            (name, text, float(value))
            for (name, text), value in zip(self._columns, internal, strict=True)
        ]

    def attributes(self, entry: Entry) -> dict[str, Any]:
        """Return the trial's user attributes as JSON data."""
        trial = entry.trial
        run = {
            "ask": trial.ask,
            "asked": entry.asked,
            "started": trial.started.isoformat(),
            "finished": trial.finished.isoformat(),
        }
        return {
            "architecture": self.space.to_text(trial.architecture),
            "measurement": strict_json(trial.measurement.to_dict()),
            "run": run,
        }

    def curve(self, entry: Entry) -> list[tuple[int, float]]:
        """Return (epoch from 1, value) of the first objective along the learning curve."""
        metric = self.objectives[0].metric
        points = enumerate(entry.trial.measurement.curve, start=1)
        return [(epoch, float(point[metric])) for epoch, point in points if metric in point]

    # Reading --------------------------------------------------------------------------------

    def entry(self, number: int, architecture: str, measurement: Any, run: Any) -> Entry:
        """Return the entry that these attributes (decoded JSON) describe."""
        trial = Trial(
            number,
            self.architecture(architecture),
            _measurement(measurement),
            datetime.fromisoformat(run["started"]),
            datetime.fromisoformat(run["finished"]),
            run["ask"],
        )
        return Entry(trial, run["asked"])

    def architecture(self, text: str) -> Architecture:
        """Read an architecture's text; equal texts share one object."""
        if text not in self._known:
            self._known[text] = self.space.from_text(text)
        return self._known[text]


def strict_json(data: Any) -> Any:
    """Return `data` with numbers that JSON lacks (NaN, infinity) as text, arrays' as floats."""
    try:
        json.dumps(data, allow_nan=False)
    except (TypeError, ValueError):
        return json.loads(json.dumps(data, default=float), parse_constant=str)
    return data


def _measurement(data: Mapping[str, Any]) -> Measurement:
    """Inverse of `strict_json(measurement.to_dict())`."""
    floats = {name: float(value) for name, value in data["metrics"].items()}
    curve = [{name: float(v) for name, v in point.items()} for point in data["curve"]]
    cost = {**data["cost"], "seconds": float(data["cost"]["seconds"])}
    return Measurement.from_dict({**data, "metrics": floats, "curve": curve, "cost": cost})
