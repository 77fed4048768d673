"""Trials as curves over parallel axes, one axis a choice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.studies._trial import Trial
from transnas.studies.report._format import escape, metric_name, panel, value

__all__ = ["parallel_figure"]

_MOST_CURVES = 160
_QUANTILES = 5
_TOP, _HEIGHT = 30.0, 210.0
_CHARACTER = 6.6
_TITLE = "Parallel choices: each curve is a trial, the stronger the better"


@dataclass(frozen=True, slots=True)
class _Axis:
    """One vertical axis: its slots from the top, and where each trial meets it.

    A place is a position in slots: 0 is the top of the first one.
    """

    name: str
    slots: tuple[str, ...]
    places: tuple[float, ...]
    x: float = 0.0
    named: Sequence[str] = ()
    """The slots whose names are written beside it."""

    def y(self, place: float) -> float:
        return _TOP + _HEIGHT * place / len(self.slots)


def parallel_figure(space: Space, trials: Sequence[Trial], objective: Objective) -> str:
    """Return a card of trials as curves over the choices; empty for fewer than two trials.

    Of many trials the best are shown, and as many spread over the others.
    """
    ranked = sorted(trials, key=lambda t: objective.reward(t.measurement))
    if len(ranked) < 2:
        return ""
    if len(ranked) > _MOST_CURVES:
        half = _MOST_CURVES // 2
        spread = np.linspace(0, len(ranked) - half - 1, half).astype(int)
        ranked = [ranked[i] for i in spread] + ranked[-half:]
    choices = [*_choice_axes(space, ranked), *_range_axes(space, ranked)]
    axes, width = _spaced(choices, _objective_axis(ranked, objective))
    body = "".join(_curve(axes, rank, ranked, objective) for rank in range(len(ranked)))
    body += "".join(_drawn(axis, first=i == 0) for i, axis in enumerate(axes))
    drawing = (
        f"<div class='scroll'><svg viewBox='0 0 {width:.0f} {_TOP + _HEIGHT + 8:.0f}' "
        f"style='min-width:{width:.0f}px' role='img' aria-label='parallel choices'>{body}"
        "</svg></div>"
    )
    return panel(_TITLE, drawing)


def _choice_axes(space: Space, ranked: Sequence[Trial]) -> list[_Axis]:
    """Return an axis a choice; within a slot trials are stacked by rank, best on top.

    So a slot shows how many trials chose its value, and how good they were.
    """
    axes = []
    for i, choice in enumerate(space.choices):
        codes = [t.architecture.values[i] for t in ranked]
        count = np.bincount(codes, minlength=len(choice.values))
        seen = dict.fromkeys(codes, 0)
        places = []
        for code in codes:
            share = (seen[code] + 0.5) / count[code]
            seen[code] += 1
            places.append(code + 0.5 + 0.6 * (0.5 - share) * min(1.0, count[code] / 12))
        axes.append(_Axis(choice.name, choice.values, tuple(places)))
    return axes


def _range_axes(space: Space, ranked: Sequence[Trial]) -> list[_Axis]:
    axes = []
    for i, number in enumerate(space.ranges):
        places = tuple(1.5 - number.to_unit(t.architecture.numbers[i]) for t in ranked)
        axes.append(_Axis(number.name, (f"{number.high:g}", f"{number.low:g}"), places))
    return axes


def _objective_axis(ranked: Sequence[Trial], objective: Objective) -> _Axis:
    values = np.array([objective.value(t.measurement) for t in ranked])
    top, bottom = float(values.max()), float(values.min())
    slots = (value(objective.metric, top), value(objective.metric, bottom))
    places = 0.5 + (top - values) / (top - bottom or 1.0)
    return _Axis(metric_name(objective.metric), slots, tuple(places.tolist()))


def _spaced(choices: Sequence[_Axis], last: _Axis) -> tuple[list[_Axis], float]:
    """Return all axes with places and slot names that do not overlap, and the width.

    Choices that share their values name them once, at the first axis.
    """
    shared = len({axis.slots for axis in choices}) == 1
    longest = max(len(slot) for axis in choices for slot in axis.slots)
    gap = max(72.0, *(_CHARACTER * len(axis.name) + 16 for axis in choices))
    if not shared:
        gap = max(gap, _CHARACTER * longest + 26)
    x = max(
        _CHARACTER * max(map(len, choices[0].slots)) + 18,
        _CHARACTER * len(choices[0].name) / 2 + 12,
    )
    axes = []
    for i, axis in enumerate(choices):
        named = axis.slots if i == 0 or not shared else ()
        axes.append(_Axis(axis.name, axis.slots, axis.places, x + i * gap, named))
    end = axes[-1].x + max(gap, (gap + _CHARACTER * len(last.name)) / 2 + 12)
    axes.append(_Axis(last.name, last.slots, last.places, end, last.slots))
    side = max(*(len(slot) + 1 for slot in last.slots), len(last.name) / 2)
    return axes, axes[-1].x + _CHARACTER * side + 12


def _curve(axes: Sequence[_Axis], rank: int, ranked: Sequence[Trial], objective: Objective) -> str:
    quantile = min(_QUANTILES - 1, rank * _QUANTILES // len(ranked))
    path, x0, y0 = "", 0.0, 0.0
    for axis in axes:
        y = axis.y(axis.places[rank])
        middle = (x0 + axis.x) / 2
        step = f"C{middle:.0f} {y0:.1f} {middle:.0f} {y:.1f} " if path else "M"
        path += f"{step}{axis.x:.0f} {y:.1f}"
        x0, y0 = axis.x, y
    trial = ranked[rank]
    shown = value(objective.metric, objective.value(trial.measurement))
    title = f"<title>trial {trial.number}: {escape(shown)}</title>"
    return f'<path class="curve q{quantile}" d="{path}">{title}</path>'


def _drawn(axis: _Axis, first: bool) -> str:
    x, end = f"{axis.x:.1f}", f"{_TOP + _HEIGHT:.1f}"
    rule = f'<line class="axis" x1="{x}" x2="{x}" y1="{_TOP}" y2="{end}"/>'
    title = f'<text class="label" x="{x}" y="{_TOP - 12}" text-anchor="middle">'
    side, anchor = (-8.0, "end") if first else (8.0, "start")
    names = "".join(
        f'<text class="tick halo" x="{axis.x + side:.1f}" y="{axis.y(i + 0.5) + 4:.1f}" '
        f'text-anchor="{anchor}">{escape(slot)}</text>'
        for i, slot in enumerate(axis.named)
    )
    return f"{rule}{title}{escape(axis.name)}</text>{names}"
