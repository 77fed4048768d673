"""The frame of a chart: nice ticks, a scale for each axis, grid lines and labels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from transnas.studies.report._format import escape, panel, sentence

__all__ = ["Frame", "Scale", "clipped", "figure", "frame", "scale"]

WIDTH, HEIGHT = 460.0, 270.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 12.0, 40.0
_DOT = 4.0
_FINEST = 5e-4


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear map from data between `low` and `high` to pixels, with its ticks."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]

    def __call__(self, number: float) -> float:
        share = (number - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Frame:
    """The two scales of a chart and the SVG of its axes."""

    x: Scale
    y: Scale
    svg: str


def scale(
    low: float, high: float, start: float, end: float, wanted: int = 5, whole: bool = False
) -> Scale:
    """Return a scale whose ticks are multiples of 1, 2 or 5 times a power of ten.

    `whole` asks for ticks at whole numbers only. Numbers that differ by less than five
    parts in 10,000 are not drawn apart: the labels of their ticks would be too long.
    """
    size = max(abs(low), abs(high))
    if high <= low:
        margin = abs(low) * 0.05 or 0.5
        low, high = low - margin, high + margin
    elif high - low < _FINEST * size and not whole:
        margin = 0.5 * (_FINEST * size - (high - low))
        low, high = low - margin, high + margin
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw * 0.999)
    step = max(step, 1.0) if whole else step
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    ticks = tuple(i * step for i in range(first, last + 1))
    return Scale(low, high, start, end, ticks)


def frame(
    xs: Sequence[float],
    ys: Sequence[float],
    x_label: str,
    format_x: Callable[[float], str],
    format_y: Callable[[float], str],
) -> Frame:
    """Return the frame around finite data `xs`, `ys` (not empty)."""
    low, high = min(ys), max(ys)
    pad = 0.04 * (high - low)
    x = scale(min(xs), max(xs), LEFT, WIDTH - RIGHT, whole=_counted(xs))
    y = scale(low - pad, high + pad, HEIGHT - BOTTOM, TOP, whole=_counted(ys))
    parts = []
    for tick in y.ticks:
        at = y(tick)
        parts.append(
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(_text(LEFT - 7, at + 4, format_y(tick), "end"))
    for tick in x.ticks:
        at = x(tick)
        parts.append(_rule("axis", at, HEIGHT - BOTTOM, at, HEIGHT - BOTTOM + 4))
        anchor = "end" if at > WIDTH - RIGHT - 14 else "middle"
        parts.append(_text(at, HEIGHT - BOTTOM + 17, format_x(tick), anchor))
    parts.append(_rule("axis", LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM))
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(_text(middle, HEIGHT - 5, x_label, "middle", "label"))
    return Frame(x, y, "".join(parts))


def clipped(svg: str) -> str:
    """Return `svg` cut at the frame, with room for a dot at its edge; a nested SVG clips itself."""
    x, y = LEFT - _DOT, TOP - _DOT
    width, height = WIDTH - LEFT - RIGHT + 2 * _DOT, HEIGHT - TOP - BOTTOM + 2 * _DOT
    place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    return f'<svg {place} viewBox="{x} {y} {width} {height}">{svg}</svg>'


def figure(title: str, svg: str, legend: str = "", note: str = "") -> str:
    """Return a titled card with a legend, an SVG of the standard size, and a note below."""
    drawing = (
        f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(title)}">'
        f"{svg}</svg>"
    )
    return panel(title, legend + drawing + (sentence(note) if note else ""))


def _counted(numbers: Sequence[float]) -> bool:
    return all(number == int(number) for number in numbers)


def _rule(css: str, x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line class="{css}" x1="{x0:.1f}" y1="{y0:.1f}" x2="{x1:.1f}" y2="{y1:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str, css: str = "tick") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text class="{css}" {place}>{escape(text)}</text>'
