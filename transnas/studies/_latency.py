"""Searches that latency counts in: where it is measured, and what is maximised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transnas._errors import InputError
from transnas.evaluation import Evaluator, Objective
from transnas.spaces import Space
from transnas.tasks import TableTask, Task

__all__ = ["MEASURED", "LatencyWish", "with_latency"]

MEASURED = ("latency_ms", "energy_mj")
"""Metrics for which latency is measured beside what is searched for."""
_TO_MS = {"": 1.0, "ms": 1.0, "us": 1e-3, "s": 1e3}


@dataclass(frozen=True)
class LatencyWish:
    """What a user wants of latency, as given; all None: nothing."""

    target: str | None = None
    """Such as `5ms`; milliseconds without a unit."""
    weight: float | None = None
    constraint: str | None = None
    table: str | None = None
    """Device of the HW-NAS-Bench table; None: latency is measured, or the task's table has it."""


def with_latency(
    task: Task,
    space: Space,
    evaluator: Evaluator,
    objectives: Sequence[Objective],
    wish: LatencyWish,
    device: str = "auto",
) -> tuple[Evaluator, tuple[Objective, ...]]:
    """Return `evaluator` with latency beside it, and what to search for.

    With a target that is the reward of MnasNet (see `LatencyReward`), unless `objectives` say
    otherwise. Raises `InputError` for a wish that makes no sense.
    """
    from transnas.evaluation import Combined, DeviceTable, Latency, LatencyReward

    named = any(o.metric in MEASURED for o in objectives)
    if wish.target is None and (wish.weight is not None or wish.constraint is not None):
        given = "weight" if wish.weight is not None else "constraint"
        raise InputError(f"latency {given} is given without a latency target; accepted: both")
    if wish.target is None and wish.table is None and not named:
        return evaluator, tuple(objectives)
    if wish.target is not None and task.kind == "language":
        raise InputError(
            f"latency target {wish.target!r} is given for task {task.name!r}, whose metric "
            f"{task.metric!r} is never above 0; accepted: tasks with a metric above 0, or latency "
            "as an objective of its own"
        )
    if wish.table is not None:
        evaluator = Combined([DeviceTable(task, wish.table), evaluator])
    elif not isinstance(task, TableTask):
        evaluator = Combined([Latency(task, space, device), evaluator])
    if wish.target is None:
        return evaluator, tuple(objectives)
    target = _milliseconds(wish.target)
    rule = wish.constraint or "soft"
    rewarded = LatencyReward(evaluator, target, wish.weight, rule, task.metric)  # type: ignore[arg-type]
    return rewarded, tuple(objectives) or (Objective("latency_reward"),)


def _milliseconds(text: str) -> float:
    unit = text.strip().lstrip("0123456789.eE+-").strip()
    try:
        return float(text.strip().removesuffix(unit)) * _TO_MS[unit]
    except (ValueError, KeyError):
        raise InputError(
            f"latency target {text!r} is not readable; accepted: like 5ms, 0.5s or 300us"
        ) from None
