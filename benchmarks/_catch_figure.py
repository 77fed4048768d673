"""The anytime curves of benchmarks/catch.py as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

TITLES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "imagenet16-120": "ImageNet16-120"}
SHOWN = {
    "random": "#9a9a9a",
    "regularized evolution 10/10": "#6b6b6b",
    "CATCH-sfs": "#d9a441",
    "CATCH-zero": "#7fb3d9",
    "CATCH": "#1f5f99",
    "CATCH, C500": "#6a3d9a",
    "Gaussian process from scratch": "#7a9a3a",
    "learning from earlier studies, D71": "#e07b54",
    "catch+, D71": "#b3202c",
}
"""Rows of the figure and their colours; every row's curve is in the result file."""


def draw(rows: dict[str, Any], best: dict[str, float], path: Path) -> None:
    """Draw the distance of the best queried network to the table's best, by query."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "transnas"
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, figsize=(12, 4.2), sharex=True)
    for panel, (target, title) in zip(panels, TITLES.items(), strict=True):
        for name, colour in SHOWN.items():
            if name not in rows:
                continue
            curve = rows[name]["targets"][target]["curve"]
            queries = range(1, len(curve) + 1)
            mean, low, high = ([max(best[target] - c[i], 1e-3) for c in curve] for i in range(3))
            panel.plot(queries, mean, color=colour, linewidth=1.6, label=name)
            panel.fill_between(queries, high, low, color=colour, alpha=0.18, linewidth=0)
        panel.set_title(title)
        panel.set_xlabel("queries")
        panel.set_yscale("log")
        panel.grid(alpha=0.25, linewidth=0.5, which="both")
        for side in ("top", "right"):
            panel.spines[side].set_visible(False)
    panels[0].set_ylabel("validation accuracy below the best, points")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False)
    figure.tight_layout(rect=(0, 0.17, 1, 1))
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
