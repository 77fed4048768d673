"""The page and the figure of benchmarks/blackbox.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from _record import RESULTS
from scipy.stats import friedmanchisquare, rankdata, studentized_range, t

DOCS = Path(__file__).parents[1] / "docs" / "results"
PUBLISHED = """| method (first paper, 12,000 s, 500 runs) | CIFAR-10 | CIFAR-100 | ImageNet16-120 |
| --- | --- | --- | --- |
| random | 90.93 (0.36) | 70.93 (1.09) | 44.45 (1.10) |
| regularized evolution | 91.19 (0.31) | 71.81 (1.12) | 45.15 (0.89) |
| REINFORCE | 91.09 (0.37) | 71.61 (1.12) | 45.05 (1.02) |
| BOHB | 90.82 (0.53) | 70.74 (1.29) | 44.26 (1.36) |
"""


EARLY = 50
"""Queries after which strategies that fit a process at every query are ranked too."""


def ranking(result: dict[str, Any], queries: int) -> tuple[list[tuple[str, float]], float, float]:
    """Return strategies by mean rank over all tables, Nemenyi's critical difference, Friedman's p.

    Only strategies that were asked so often on every table take part.
    """
    tables, rows, at = result["tables"], result["rows"], result["points"].index(queries)
    names = [
        name
        for name, row in rows.items()
        if all(t in row and len(row[t]["regret"]) > at for t in tables)
    ]
    final = np.array([[rows[name][t]["regret"][at] for name in names] for t in tables])
    ranks = rankdata(final, axis=1).mean(axis=0)
    k, n = len(names), len(tables)
    q = float(studentized_range.ppf(0.95, k, np.inf)) / np.sqrt(2)
    difference = q * np.sqrt(k * (k + 1) / (6 * n))
    p = float(friedmanchisquare(*final.T).pvalue) if k > 2 else float("nan")
    order = sorted(zip(names, ranks.tolist(), strict=True), key=lambda pair: pair[1])
    return order, float(difference), p


def draw(result: dict[str, Any], names: list[str]) -> None:
    """Draw regret by query of the strategies `names`, one panel a benchmark, with 95% bands."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "transnas"
    from matplotlib import pyplot as plt

    groups = {
        "NAS-Bench-201, 3 data sets": [t for t in result["tables"] if "201" in t],
        "TransNAS-Bench-101 micro, 7 tasks": [t for t in result["tables"] if "TransNAS" in t],
        "NAS-Bench-Macro": [t for t in result["tables"] if "macro" in t],
    }
    figure, axes = plt.subplots(1, 3, figsize=(11, 4.0), layout="constrained")
    for axis, (title, tables) in zip(axes, groups.items(), strict=True):
        for name in names:
            row = result["rows"][name]
            shown = [row[t] for t in tables if t in row and row[t]["half_width"] is not None]
            if not shown:
                continue
            mean = np.mean([r["regret"] for r in shown], axis=0)
            half = np.sqrt(np.sum(np.square([r["half_width"] for r in shown]), axis=0)) / len(shown)
            (line,) = axis.plot(result["points"], mean, label=name, linewidth=1.2)
            low = np.maximum(mean - half, 1e-3)
            axis.fill_between(
                result["points"], low, mean + half, alpha=0.15, color=line.get_color()
            )
        axis.set(title=title, xlabel="queries", yscale="log")
    axes[0].set_ylabel("regret (median cell = 1)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=7)
    figure.savefig(DOCS / "blackbox.svg", metadata={"Date": None})
    plt.close(figure)


def write_page(path: Path) -> None:
    """Write docs/results/blackbox.md from the JSON at `path`."""
    result = json.loads(path.read_text())
    order, difference, p = ranking(result, result["queries"])
    if len(order) < 3:
        return  # nothing to compare yet
    slow = [name for name in result["rows"] if name not in dict(order)]
    draw(result, [name for name, _ in order[:6]] + [n for n, _ in order[6:] if n == "random"])
    lines = [
        "# Every strategy on eleven tables",
        "",
        f"`python benchmarks/blackbox.py --seconds {result['seconds_allowed']:g}` writes this "
        "page, its figure and `benchmarks/results/blackbox.json`.",
        f"{result['queries']} queries a run. On NAS-Bench-201 a search sees 12-epoch validation "
        "and is judged by the 200-epoch validation of its best by reward; elsewhere by what it "
        "sees. Regret is in units of the distance from the median architecture to the best. Seeds: "
        "up to 100, as many as the processor time allows; in brackets beside the regret.",
        "",
        f"Processor: {result['machine']['processor']}, one thread, shared with other work; "
        f"commit {result['machine']['commit']}, {result['machine']['date']}. Rows were run one by "
        "one, some at earlier commits. Strategies of the project have 100 seeds; Optuna's process "
        "and BoTorch used plainly, which stand beside them, have the few that they could afford: "
        "an interval of two seeds says nothing.",
        "",
        "![Regret by query](blackbox.svg)",
        "",
        "## Ranking",
        "",
        f"Mean rank over {len(result['tables'])} tables by regret after all queries. Friedman: "
        f"p = {p:.1g}. Critical difference (Nemenyi, 5%): {difference:.2f}; strategies closer than "
        f"that are not told apart. Beside it the rank after {EARLY} queries.",
        "",
        f"| strategy | mean rank | after {EARLY} | NAS-Bench-201 | TransNAS micro | Macro "
        "| ms a query |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    ranks, early = dict(order), dict(ranking(result, EARLY)[0])
    for name in [*ranks, *slow]:
        row = result["rows"][name]
        cells = [_mean(row, word) for word in ("201", "TransNAS", "macro")]
        own = float(np.median([r["ms_per_query"] for r in row.values()]))
        places = [f"{r[name]:.2f}" if name in r else "–" for r in (ranks, early)]
        lines.append(f"| {name} | {' | '.join([*places, *cells])} | {own:.3g} |")
    lines += [
        "",
        "– : fewer queries, or one run takes more than five seconds and only one table of each "
        f"benchmark was searched; not ranked. {_dear(result['rows'])}Times are processor time of "
        "ask and tell, or of the vectorised replicates where a strategy has them.",
        "",
        "At 200 results (NAS-Bench-201, asked one by one, a core shared with other work) a "
        "suggestion of `bo` takes 0.22 to 0.30 s, where the goal was 0.1 s: it fits its process "
        "anew. `architecture-bo`, which weighs fixed hyperparameters by their evidence, takes 2 ms "
        "after a first suggestion that conditions on all results.",
        "",
        *_scratch(),
        *_multifidelity(),
        *_smac3(),
        "## Published",
        "",
        "200-epoch validation accuracy (standard deviation). The budget there is 12,000 s of "
        "simulated training, about 110 queries of 12 epochs, so that these rows stand beside the "
        "NAS-Bench-201 column in kind, not in number.",
        "",
        PUBLISHED,
        "## Not in this benchmark",
        "",
        *(f"- `{name}`: {reason}" for name, reason in result["refused"].items()),
        "",
    ]
    (DOCS / "blackbox.md").write_text("\n".join(lines))


def _scratch() -> list[str]:
    """Return the section on 50 queries from scratch, from benchmarks/architecture_bo.py."""
    path = RESULTS / "architecture-bo.json"
    if not path.exists():
        return []
    result = json.loads(path.read_text())
    hits, chosen = result["hits"], result["chosen_on_transnas"]
    lines = [
        "## From scratch, 50 queries",
        "",
        "`architecture-bo` (`python benchmarks/architecture_bo.py`): hits of 500 seeds on the cell "
        "that is best after 200 epochs; a search sees 12. The noise of the model is fixed, or "
        "averaged over three; the expected improvement counts a share of the posterior's "
        "deviation. The last row is the default. The goal was 375, 375 and 360.",
        "",
        "| noise, share | CIFAR-10 | CIFAR-100 | ImageNet16-120 | ms a query |",
        "| --- | --- | --- | --- | --- |",
        *(_hits_row(name, found) for name, found in hits.items()),
        "",
    ]
    last = list(hits.values())[-1]
    ranks = ", ".join(str(f["rank_after_12_epochs"]) for f in last.values())
    missed = ", ".join(
        f"{f['misses_that_tried_the_best_after_12_epochs']} of {500 - f['hits']}"
        for f in last.values()
    )
    lines += [
        f"The best after 200 epochs is number {ranks} after 12, of 4,930 different cells. Of the "
        f"seeds that missed it by default, {missed} had tried the cell that looks best after 12.",
        "",
        "The default was chosen on the seven TransNAS-Bench-101 micro tasks, with noise on the "
        "rewards (a multiple of the deviation of their best twentieth): cells of the best twenty "
        "found in 50 queries, and share of searches that find the best one.",
        "",
        "| noise of rewards | noise of the model | " + " | ".join(SHARES) + " |",
        "| --- | --- |" + " --- |" * len(SHARES),
    ]
    for noise in dict.fromkeys(key.split()[0] for key in chosen):
        for model in ("fixed", "marginal"):
            cells = [chosen[f"{noise} {model} {share}"] for share in SHARES]
            shown = " | ".join(
                f"{c['found']:.2f} ± {c['half']:.2f} ({c['best']:.0%})" for c in cells
            )
            lines.append(f"| {noise} | {model} | {shown} |")
    lines += [
        "",
        "No share and no noise of the model differs from another by its interval, so that these "
        "tasks do not decide. The default was taken when cells were merged that TransNAS-Bench-101 "
        "tells apart: then, under more noise, smaller shares found more than the whole deviation.",
        "",
    ]
    return [*lines, *TRIED]


SHARES = ("1.0", "0.6", "0.4", "0.3")
TRIED = [
    "Before, with the whole deviation and on fewer draws (so that figures compare roughly: "
    "expected improvement 5.2): the probability of improvement 5.5; improvement over the third or "
    "eighth best 5.4; the probability with path length-scales four times as long 5.75; four "
    "kernels weighed by evidence 5.5; bad rewards clipped closer 5.3 to 5.5; and, on half the "
    "draws, UCB, Thompson sampling, space-filling or other numbers of random starts 3.5 to 4.5 "
    "(expected improvement there: 4.1). Of those, the probability of improvement with long "
    "length-scales was looked at on NAS-Bench-201 too: it hit less there on ImageNet16-120.",
    "",
]


def _dear(rows: dict[str, Any]) -> str:
    """Return the sentence on the strategies that stop after a third of the queries."""
    named = [f"`{name}`" for name in ("bo", "optuna-gp", "plain-botorch") if name in rows]
    return f"Regret after 50 queries for {' and '.join(named)}. " if named else ""


def _hits_row(name: str, found: dict[str, Any]) -> str:
    counts = " | ".join(str(f["hits"]) for f in found.values())
    own = np.median([f["ms_per_query"] for f in found.values()])
    return f"| {name} | {counts} | {own:.2g} |"


def _multifidelity() -> list[str]:
    """Return the section on strategies with budgets, from benchmarks/multifidelity.py."""
    path = RESULTS / "multifidelity.json"
    if not path.exists():
        return []
    result = json.loads(path.read_text())
    lines = [
        "## With budgets",
        "",
        f"Simulated time of {result['full_trainings']} mean 200-epoch trainings on NAS-Bench-201, "
        f"{result['seeds']} seeds: 200-epoch validation accuracy (%) of what was found, 95% "
        "intervals, and trainings a search (CIFAR-10). Rungs of 12 and 200 epochs, the only ones "
        "that the table knows; who is promoted is trained anew. A search that sees 12 epochs alone "
        "trains its best one for 200 at the end. `python benchmarks/multifidelity.py`, "
        f"commit {result['machine']['commit']}.",
        "",
        "| search | CIFAR-10 | CIFAR-100 | ImageNet16-120 | trainings |",
        "| --- | --- | --- | --- | --- |",
    ]
    for label, row in result["rows"].items():
        cells = []
        for found in row.values():
            values = np.array(found["accuracies"])
            half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
            cells.append(f"{values.mean():.2f} ± {half:.2f}")
        lines.append(f"| {label} | {' | '.join(cells)} | {row['cifar10']['trainings']:.0f} |")
    return [*lines, ""]


def _smac3() -> list[str]:
    """Return the section on SMAC3, from benchmarks/smac3.py."""
    path = RESULTS / "smac3.json"
    if not path.exists():
        return []
    result = json.loads(path.read_text())
    regrets = np.array([found["regret"] for found in result["sets"].values()])[..., -1]
    half = np.sqrt((regrets.var(axis=1, ddof=1) / regrets.shape[1]).sum()) / len(regrets)
    half *= t.ppf(0.975, len(regrets) * (regrets.shape[1] - 1))
    own = np.median([found["ms_per_query"] for found in result["sets"].values()])
    sets = {1: "CIFAR-10", 3: "3 data sets"}.get(len(regrets), f"{len(regrets)} data sets")
    return [
        "## SMAC3",
        "",
        f"SMAC3 {result['smac']} (its hyperparameter facade: random forest, defaults) in an "
        f"environment of its own, `benchmarks/smac3.py`: regret on NAS-Bench-201 ({sets}) after "
        f"{result['queries']} queries {regrets.mean():.3f} ± {half:.3f} "
        f"({regrets.shape[1]} seeds), "
        f"{own:.2g} ms a query. syne-tune was not run.",
        "",
    ]


def _mean(row: dict[str, Any], word: str) -> str:
    """Return the mean regret over the tables of one benchmark, and seeds."""
    found = [r for name, r in row.items() if word in name]
    if not found:
        return "–"
    value = float(np.mean([r["regret"][-1] for r in found]))
    seeds = min(r["seeds"] for r in found)
    if any(r["half_width"] is None for r in found):
        return f"{value:.3f} ({seeds})"
    half = np.sqrt(sum(r["half_width"][-1] ** 2 for r in found)) / len(found)
    return f"{value:.3f} ± {half:.3f} ({seeds})"
