"""Figures for papers and READMEs, drawn with matplotlib without touching its global state."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from transnas.studies._whole import write_whole

if TYPE_CHECKING:
    from transnas.studies._comparison import Comparison

__all__ = ["draw_comparison"]

_COLOURS = ("#0f766e", "#c2410c", "#4f46e5", "#be185d", "#0369a1", "#4d7c0f", "#854d0e", "#6b7280")


def draw_comparison(comparison: Comparison, path: Path) -> Path:
    """Draw one panel a task: the best value so far against trials, with 95% bands."""
    from matplotlib.figure import Figure

    tasks, methods = comparison.tasks, comparison.methods
    figure = Figure(figsize=(1 + 4.2 * len(tasks), 3.6), layout="constrained")
    axes = figure.subplots(1, len(tasks), squeeze=False)[0]
    for axis, task in zip(axes, tasks, strict=True):
        for arm in (a for a in comparison.arms if a.task == task):
            colour = _COLOURS[methods.index(arm.method) % len(_COLOURS)]
            trials = range(1, len(arm.mean) + 1)
            axis.fill_between(trials, arm.low, arm.high, color=colour, alpha=0.15, linewidth=0)
            axis.plot(trials, arm.mean, color=colour, label=arm.method)
        low, high = comparison.window(task)
        if high > low:
            axis.set_ylim(low - 0.04 * (high - low), high + 0.04 * (high - low))
        axis.set_title(task)
        axis.set_xlabel("trials")
        axis.grid(color="0.92")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(f"best {comparison.metric.replace('_', ' ')} so far")
    axes[0].legend(frameon=False, loc="lower right")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=160)
    return write_whole(path, drawn.getvalue(), "plot")
