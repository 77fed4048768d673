"""`Combined`: several evaluators as one, for searches with several objectives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from transnas._errors import InputError
from transnas.evaluation._base import Cost, Evaluator, Measurement
from transnas.spaces import Architecture

__all__ = ["Combined"]


class Combined(Evaluator):
    """Asks each evaluator in turn and merges their metrics; costs add up.

    Where two report the same metric, the first one's stands. The first failure ends the
    measurement, so put the cheap evaluators first. The curve is that of the first evaluator that
    has one.
    """

    def __init__(self, evaluators: Sequence[Evaluator]) -> None:
        if not evaluators:
            raise InputError("evaluators are empty; accepted: at least one")
        self.evaluators = tuple(evaluators)

    @property
    def label(self) -> str:
        """The labels of the evaluators, by plus signs."""
        return " + ".join(evaluator.label for evaluator in self.evaluators)

    def reports(self) -> frozenset[str] | None:
        """See `Evaluator.reports`."""
        found: set[str] = set()
        for evaluator in self.evaluators:
            names = evaluator.reports()
            if names is None:
                return None
            found |= names
        return frozenset(found)

    def parts(self) -> tuple[Evaluator, ...]:
        """See `Evaluator.parts`."""
        return tuple(part for evaluator in self.evaluators for part in evaluator.parts())

    def within(self, change: Callable[[Evaluator], Evaluator]) -> Evaluator:
        """See `Evaluator.within`."""
        return Combined([evaluator.within(change) for evaluator in self.evaluators])

    def keeping(self, folder: Path | None) -> Evaluator:
        """See `Evaluator.keeping`."""
        return self.within(lambda part: part.keeping(folder))

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Measure `arch` with every evaluator; see `Evaluator.evaluate`."""
        merged = Measurement()
        for evaluator in self.evaluators:
            found = evaluator.evaluate(arch, budget, seed)
            merged = Measurement(
                {**found.metrics, **merged.metrics},
                _sum(merged.cost, found.cost),
                found.status,
                found.error,
                merged.curve or found.curve,
            )
            if found.status == "failed":
                break
        return merged


def _sum(first: Cost, second: Cost) -> Cost:
    """Return both costs together; epochs are of the evaluator that trains longest."""
    return Cost(
        first.seconds + second.seconds,
        max(first.epochs, second.epochs),
        first.device or second.device,
    )
