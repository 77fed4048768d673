"""What a comparison of methods found, and the forms in which it is shown."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from transnas._errors import InputError
from transnas.studies._statistics import Floats, bootstrap_mean, holm, paired_p
from transnas.studies._whole import require_writable

__all__ = ["ALONE", "CHANCE", "Arm", "Comparison", "Row", "arm", "require_plottable"]

FORMAT = 1
ALONE = (
    "One seed says nothing of others: its interval has no width, and no test tells a difference."
)
CHANCE = "random, exact"
"""Name of the row of `Comparison.chance`."""


@dataclass(frozen=True)
class Arm:
    """One method on one task over all seeds.

    `values` and `seconds` hold each seed's best value and its cost after the whole budget;
    `mean`, `low` and `high` are the best value so far after each trial with its 95% interval.
    """

    task: str
    method: str
    values: tuple[float, ...]
    seconds: tuple[float, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True)
class Row:
    """One line of the table; `p` is Holm-adjusted, against the first method on the same task.

    `reached` is the first trial at which the mean is as good as the first method's final one.
    """

    task: str
    method: str
    mean: float
    low: float
    high: float
    difference: float
    p: float
    reached: int | None
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """Methods x tasks x seeds at equal budget; `arms` in the order given, tasks first."""

    metric: str
    maximise: bool
    epochs: int | None
    trials: int
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]
    info: Mapping[str, Any] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    """Exact expected best of `trials` different random architectures, by task; of tables."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, in order."""
        return tuple(dict.fromkeys(arm.task for arm in self.arms))

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods, in order; the first is the one that others are tested against."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms))

    def with_arm(self, task: str, method: str, best: Floats, seconds: Floats) -> Comparison:
        """Return a comparison that also has an arm measured elsewhere, over the same seeds.

        `best` holds best values so far, [seeds, trials]; `seconds` the whole cost, [seeds].
        """
        order = [*self.tasks, task]
        arms = (*self.arms, arm(task, method, best, seconds))
        return replace(self, arms=tuple(sorted(arms, key=lambda a: order.index(a.task))))

    def rows(self) -> list[Row]:
        """Return a line for each arm; tests are corrected over all of them together."""
        firsts = {arm.task: arm for arm in reversed(self.arms)}
        tested = [arm for arm in self.arms if arm is not firsts[arm.task]]
        raw = [paired_p(np.array(firsts[a.task].values), np.array(a.values)) for a in tested]
        p_values = {id(a): p for a, p in zip(tested, holm(raw), strict=True)}
        return [
            Row(
                arm.task,
                arm.method,
                arm.mean[-1],
                arm.low[-1],
                arm.high[-1],
                arm.mean[-1] - firsts[arm.task].mean[-1],
                p_values.get(id(arm), math.nan),
                self._reached(arm, firsts[arm.task].mean[-1]),
                float(np.mean(arm.seconds)),
            )
            for arm in self.arms
        ]

    def _reached(self, arm: Arm, target: float) -> int | None:
        sign = 1.0 if self.maximise else -1.0
        # The same mean summed in another order may differ in the last bit.
        slack = 1e-12 * max(1.0, abs(target))
        for trial, mean in enumerate(arm.mean, start=1):
            if sign * mean >= sign * target - slack:
                return trial
        return None

    def window(self, task: str) -> tuple[float, float]:
        """Return the range of values worth drawing: from a tenth of the budget on.

        The first few trials of random starts lie so low that they would flatten all the rest.
        """
        start = self.trials // 10
        arms = [arm for arm in self.arms if arm.task == task]
        seen = [v for arm in arms for series in (arm.low, arm.high) for v in series[start:]]
        known = [v for v in seen if not math.isnan(v)]
        return (min(known), max(known)) if known else (0.0, 1.0)

    def table(self) -> str:
        """Return the rows as a Markdown table."""
        head = f"| task | method | best {self.metric} [95% interval] | difference | p | reached |"
        lines = [head, "|---|---|---|---|---|---|"]
        for row in self.rows():
            tested = not math.isnan(row.p)
            lines.append(
                f"| {row.task} | {row.method} | {row.mean:.5g} [{row.low:.5g}, {row.high:.5g}] "
                f"| {f'{row.difference:+.3g}' if tested else ''} "
                f"| {f'{row.p:.2g}' if tested else ''} | {row.reached or 'not'} |"
            )
        lines += [f"| {t} | {CHANCE} | {v:.5g} | | | |" for t, v in self.chance.items()]
        return "\n".join(lines)

    def plot(self, path: str | Path) -> Path:
        """Draw the anytime curves with their intervals; .png, .svg, .pdf or .html by suffix."""
        path = require_plottable(path)
        if path.suffix == ".html":
            from transnas.studies.report import write_report

            return write_report((), path, comparisons=(self,))
        from transnas.studies._figures import draw_comparison

        return draw_comparison(self, path)

    def to_json(self) -> str:
        """Return everything, rows included, as JSON; NaN becomes null."""
        data = {"format": FORMAT, **asdict(self), "rows": [asdict(row) for row in self.rows()]}
        return json.dumps(_without_nan(data), indent=1, default=str)

    @classmethod
    def from_json(cls, text: str) -> Comparison:
        """Inverse of `to_json`; raises `InputError` for anything else."""
        try:
            data = json.loads(text)
            if data["format"] != FORMAT:
                raise InputError(
                    f"comparison format {data['format']!r} is not read; accepted: {FORMAT}"
                )
            arms = tuple(
                Arm(a["task"], a["method"], *(_floats(a[name]) for name in _SERIES))
                for a in data["arms"]
            )
            names = ("metric", "maximise", "epochs", "trials")
            common = {name: data[name] for name in names}
            return cls(
                **common,
                seeds=tuple(data["seeds"]),
                arms=arms,
                info=data["info"],
                chance=dict(data.get("chance", {})),
            )
        except (ValueError, TypeError, KeyError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                "comparison is not readable; accepted: JSON written by transnas compare"
            ) from error


def require_plottable(path: str | Path) -> Path:
    """Return `path` if `Comparison.plot` can write there; raises `InputError` otherwise."""
    path = require_writable(path, "plot")
    if path.suffix not in _SUFFIXES:
        raise InputError(f"plot {str(path)!r} has no known suffix; accepted: {' '.join(_SUFFIXES)}")
    return path


_SUFFIXES = (".png", ".svg", ".pdf", ".html")
_SERIES = ("values", "seconds", "mean", "low", "high")


def arm(task: str, method: str, best: Floats, seconds: Floats) -> Arm:
    """Return an arm from best values so far [seeds, trials] and costs [seeds]."""
    mean, low, high = bootstrap_mean(best)
    series = (best[:, -1], seconds, mean, low, high)
    return Arm(task, method, *(tuple(map(float, values)) for values in series))


def _floats(values: list[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if v is None else float(v) for v in values)


def _without_nan(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_nan(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [_without_nan(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
