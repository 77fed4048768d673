"""`LatencyReward`: quality and latency as one number to maximise, for any strategy."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Literal

from transnas._errors import InputError, unknown
from transnas.evaluation._base import Evaluator, Measurement
from transnas.spaces import Architecture

__all__ = ["HARD", "SOFT", "Constraint", "LatencyReward", "latency_reward"]

Constraint = Literal["soft", "hard"]
SOFT, HARD = -0.07, -1.0
"""The published exponents: 5% more accuracy for twice the latency; proportional beyond T."""


def latency_reward(
    quality: float, latency: float, target: float, weight: float, constraint: Constraint = "soft"
) -> float:
    """Return P (LAT / T)^w, with w = 0 up to the target T where the constraint is hard.

    Source: Tan et al., "MnasNet", CVPR 2019, eq. 2-3. Raises `InputError` unless P is at least 0,
    LAT and T are above 0, and w is at most 0.
    """
    if not (math.isfinite(quality) and quality >= 0):
        raise InputError(
            f"quality {quality:g} has no latency reward; accepted: finite numbers from 0"
        )
    for name, value in (("latency", latency), ("latency target", target)):
        if not (math.isfinite(value) and value > 0):
            raise InputError(
                f"{name} {value:g} has no latency reward; accepted: finite numbers above 0"
            )
    if not (math.isfinite(weight) and weight <= 0):
        raise InputError(f"latency weight {weight:g} is not accepted; accepted: 0 or below")
    if constraint == "hard" and latency <= target:
        return quality
    return float(quality * (latency / target) ** weight)


class LatencyReward(Evaluator):
    """Adds the metrics `latency_reward` and `feasible` (1 up to the target) to a measurement.

    `evaluator` must report `metric` (greater is better, from 0) and `latency` (a metric too; one
    of energy does as well): combine a training with `Latency`, or a table with `DeviceTable`. The
    reward is an ordinary metric, so that every strategy can maximise it; a measurement without a
    reward fails with the reason. Raises `InputError` for a bad target, weight or constraint, and
    where `evaluator` says that it measures no such metric.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        target: float,
        weight: float | None = None,
        constraint: Constraint = "soft",
        metric: str = "validation_accuracy",
        latency: str = "latency_ms",
    ) -> None:
        if constraint not in ("soft", "hard"):
            raise unknown("latency constraint", constraint, ("soft", "hard"))
        if weight is None:
            weight = SOFT if constraint == "soft" else HARD
        latency_reward(1.0, 1.0, target, weight, constraint)
        self.evaluator = evaluator
        self.target, self.weight, self.constraint = float(target), float(weight), constraint
        self.metric, self.latency = metric, latency
        self._require(evaluator.reports())

    @property
    def label(self) -> str:
        """The reward in words, with what is inside."""
        rule = f"{self.metric}, {self.latency} {self.target:g}, {self.weight:g} {self.constraint}"
        return f"LatencyReward({rule}) of {self.evaluator.label}"

    def reports(self) -> frozenset[str] | None:
        """See `Evaluator.reports`."""
        inside = self.evaluator.reports()
        return None if inside is None else inside | {"latency_reward", "feasible"}

    def _require(self, measured: Collection[str] | None) -> None:
        """Raise `InputError` if what the reward is made of is known not to be measured."""
        for name in (self.metric, self.latency):
            if measured is not None and name not in measured:
                raise InputError(
                    f"metric {name!r} of the latency reward is not measured; "
                    f"accepted: {', '.join(sorted(measured))}"
                )

    def parts(self) -> tuple[Evaluator, ...]:
        """See `Evaluator.parts`."""
        return self.evaluator.parts()

    def within(self, change: Callable[[Evaluator], Evaluator]) -> Evaluator:
        """See `Evaluator.within`."""
        other = copy(self)
        other.evaluator = self.evaluator.within(change)
        return other

    def keeping(self, folder: Path | None) -> Evaluator:
        """See `Evaluator.keeping`."""
        return self.within(lambda part: part.keeping(folder))

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Measure `arch` and add its reward; see `Evaluator.evaluate`."""
        found = self.evaluator.evaluate(arch, budget, seed)
        if found.status == "failed":
            return found
        self._require(found.metrics)
        quality, latency = found.metrics[self.metric], found.metrics[self.latency]
        try:
            reward = latency_reward(quality, latency, self.target, self.weight, self.constraint)
        except InputError as error:
            return replace(found, status="failed", error=str(error))
        added = {"latency_reward": reward, "feasible": float(latency <= self.target)}
        return replace(found, metrics={**found.metrics, **added})
