"""How a one-shot search went: architecture weights over time, skips, entropy, accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transnas.spaces import Space
from transnas.studies._counted import counted
from transnas.studies._trial import Trial
from transnas.studies.report._charts import Line, chart
from transnas.studies.report._format import tick

__all__ = ["search_figures"]

_MOST_EDGES = 28
_CURVES = (
    ("supernet_accuracy", "Accuracy of the supernet and of what it derives", "derived_accuracy"),
    ("skips", "Operations of the derived architecture", "parametric"),
    ("entropy", "Entropy of the architecture's weights (1: uniform)", ""),
    ("eigenvalue", "Dominant eigenvalue of the validation loss", ""),
)


def search_figures(space: Space, ranked: Sequence[Trial]) -> str:
    """Return the course of the best trial's search; an empty string if its trials are none."""
    searched = [t for t in ranked if t.measurement.found is not None]
    if not searched:
        return ""
    best = searched[0]
    assert best.measurement.found is not None
    curve = [point for point in best.measurement.curve if "skips" in point]
    charts = [_course(curve, title, [a, b]) for a, title, b in _CURVES]
    shares = _shares(space, best.measurement.found.record.get("shares", []))
    return (
        f"<h3>The search of trial {best.number}</h3>"
        f"<div class='columns even'>{''.join(charts)}</div>"
        + (f"<h3>Weights of the architecture over time</h3>{shares}" if shares else "")
    )


def _course(curve: Sequence[Mapping[str, float]], title: str, names: Sequence[str]) -> str:
    lines: list[Line] = []
    for name in filter(None, names):
        known = [(float(e), p[name]) for e, p in enumerate(curve, 1) if name in p]
        if known:
            xs, ys = [e for e, _ in known], [y for _, y in known]
            lines.append(Line(name.replace("_", " "), xs, ys, colour=len(lines)))
    return chart(title, "epochs of the search", lines, format_y=lambda y: tick(names[0], y))


def _shares(space: Space, shares: Any) -> str:
    """Return a small chart an edge; `shares` are [epochs][edges][operations]."""
    if not shares:
        return ""
    edges, operations = len(shares[0]), len(shares[0][0])
    epochs = [float(e) for e in range(1, len(shares) + 1)]
    charts = []
    for edge in range(min(edges, _MOST_EDGES)):
        title, names = f"edge {edge}", [f"operation {code}" for code in range(operations)]
        if len(space.choices) == edges:
            choice = space.choices[edge]
            title, names = choice.name, [*choice.values, *names[len(choice.values) :]]
        lines = [
            Line(name, epochs, [step[edge][code] for step in shares], colour=code)
            for code, name in enumerate(names)
        ]
        charts.append(chart(title, "epochs of the search", lines))
    left = edges - _MOST_EDGES
    note = f"<p class='note'>{counted(left, 'more edge')}.</p>" if left > 0 else ""
    return f"<div class='columns even'>{''.join(charts)}</div>{note}"
