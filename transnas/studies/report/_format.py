"""Numbers and texts as people read them; everything that reaches the page is escaped."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

__all__ = ["capitalised", "escape", "metric_name", "panel", "sentence", "tick", "tiles", "value"]

_WORDS = {
    "miou": "mIoU", "map": "mAP", "map50": "mAP50", "map75": "mAP75", "ms": "(ms)", "mj": "(mJ)"
}  # fmt: skip


def escape(text: object) -> str:
    """Return `text` safe inside HTML elements and quoted attributes."""
    return html.escape(str(text), quote=True)


def panel(title: str, body: str, css: str = "") -> str:
    """Return a titled card around `body` (HTML)."""
    kind = f" class='{css}'" if css else ""
    return f"<figure{kind}><figcaption>{escape(title)}</figcaption>{body}</figure>"


def tiles(rows: Sequence[tuple[str, str, str]]) -> str:
    """Return a row of tiles: of each the figure, what it is of, and a remark."""
    body = "".join(
        f"<div class='tile'><strong>{escape(figure)}</strong><span>{escape(what)}</span>"
        f"<small>{escape(remark)}</small></div>"
        for figure, what, remark in rows
    )
    return f"<div class='tiles'>{body}</div>"


def sentence(text: str) -> str:
    """Return a remark as a paragraph."""
    return f"<p class='note'>{escape(text)}</p>"


def metric_name(metric: str) -> str:
    """Return a metric's name in words: `validation_miou` -> `validation mIoU`."""
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))


def capitalised(text: str) -> str:
    """Return `text` with a great first letter and the others as they are."""
    return text[:1].upper() + text[1:]


def value(metric: str, number: float) -> str:
    """Return a metric's value: fractions of `..accuracy` as percent, others to 4 digits."""
    if not math.isfinite(number):
        return "–"
    if metric.endswith("accuracy") and 0.0 <= number <= 1.0:
        return f"{100 * number:.2f}%"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    return f"{number:.4g}" if abs(number) < 1e5 else f"{number:,.0f}"


def tick(metric: str, number: float) -> str:
    """Return a metric's value as short as an axis needs it: ticks next to each other differ."""
    if metric.endswith("accuracy"):
        return f"{round(100 * number, 6):g}%"
    return f"{number:.5g}" if abs(number) < 1e6 else f"{number / 1e6:g} M"
