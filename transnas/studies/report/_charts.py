"""Charts as inline SVG: lines with bands, scattered trials, horizontal bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from transnas.studies.report._axes import Frame, clipped, figure, frame
from transnas.studies.report._format import escape, panel, sentence

__all__ = ["COLOURS", "Line", "Point", "bars", "chart"]

COLOURS = 8
"""Number of series colours in the style sheet (`--s0` .. `--s7`)."""
_T = TypeVar("_T")
_MOST_POINTS = 1500
_MOST_STEPS = 800


@dataclass(frozen=True, slots=True)
class Line:
    """One series; `low` and `high` are the band around it, empty for none."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()
    stepped: bool = False
    """Hold each value until the next x, as an incumbent does."""
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One trial in a scatter, with the text that hovering shows."""

    x: float
    y: float
    text: str
    strong: bool = False


def chart(
    title: str,
    x_label: str,
    lines: Sequence[Line] = (),
    points: Sequence[Point] = (),
    format_x: Callable[[float], str] = lambda x: f"{x:g}",
    format_y: Callable[[float], str] = lambda y: f"{y:g}",
    note: str = "",
    window: tuple[float, float] | None = None,
) -> str:
    """Return a figure with `points` under `lines`, or an empty string without finite data.

    `window` limits the y axis; lines are cut there.

    Long series are thinned, so that the page stays small whatever the study's size.
    """
    points = _thin(points, _MOST_POINTS)
    xs = [x for line in lines for x in line.x] + [p.x for p in points]
    ys = [p.y for p in points]
    for line in lines:
        ys += [*line.y, *line.low, *line.high]
    if not xs:
        return ""
    box = frame(xs, window or ys, x_label, format_x, format_y)
    dots = "".join(_dot(box, p) for p in points if not p.strong)
    strong = "".join(_dot(box, p) for p in points if p.strong)
    drawn = "".join(_band(box, line) for line in lines) + "".join(_line(box, s) for s in lines)
    if window:
        dots, drawn = clipped(dots), clipped(drawn)
    return figure(title, box.svg + dots + drawn + strong, _legend(lines), note)


def bars(
    title: str, rows: Sequence[tuple[str, float]], format_value: Callable[[float], str], note: str
) -> str:
    """Return a card of horizontal bars from zero, one row a (label, value >= 0), and a note."""
    most = max((v for _, v in rows), default=0.0) or 1.0
    body = "".join(
        f"<tr><th scope='row'>{escape(label)}</th>"
        f"<td class='bar'><span style='width:{100 * v / most:.1f}%'></span></td>"
        f"<td class='n'>{escape(format_value(v))}</td></tr>"
        for label, v in rows
    )
    return panel(title, f"<table class='bars'>{body}</table>{sentence(note)}")


def _line(box: Frame, line: Line) -> str:
    path = _path(box, _thin(list(zip(line.x, line.y, strict=True)), _MOST_STEPS), line.stepped)
    css = f"line c{line.colour % COLOURS}"
    if len(line.x) == 1:  # a line of no length, whose round ends are a dot
        css, path = f"{css} alone", path + "h0"
    return f'<path class="{css}" d="{path}"><title>{escape(line.label)}</title></path>'


def _band(box: Frame, line: Line) -> str:
    if not line.low:
        return ""
    there = _thin(list(zip(line.x, line.high, strict=True)), _MOST_STEPS)
    back = _thin(list(zip(line.x, line.low, strict=True)), _MOST_STEPS)[::-1]
    path = _path(box, there, False) + "L" + _path(box, back, False)[1:] + "Z"
    return f'<path class="band c{line.colour % COLOURS}" d="{path}"/>'


def _path(box: Frame, points: Sequence[tuple[float, float]], stepped: bool) -> str:
    out, last = "", 0.0
    for i, (x, y) in enumerate(points):
        px, py = box.x(x), box.y(y)
        if i and stepped:
            out += f"L{px:.1f} {last:.1f}"
        out += f"{'L' if i else 'M'}{px:.1f} {py:.1f}"
        last = py
    return out


def _dot(box: Frame, point: Point) -> str:
    css, radius = ("dot strong", 5) if point.strong else ("dot", 3)
    return (
        f'<circle class="{css}" cx="{box.x(point.x):.1f}" cy="{box.y(point.y):.1f}" r="{radius}">'
        f"<title>{escape(point.text)}</title></circle>"
    )


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    keys = "".join(
        f"<span><i class='c{line.colour % COLOURS}'></i>{escape(line.label)}</span>"
        for line in lines
    )
    return f"<div class='legend'>{keys}</div>"


def _thin(items: Sequence[_T], most: int) -> Sequence[_T]:
    """Return at most about `most` items, evenly, first and last kept."""
    if len(items) <= most:
        return items
    step = (len(items) - 1) / (most - 1)
    return [items[round(i * step)] for i in range(most)]
