"""The page docs/results/learning-from-studies.md from the JSON of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "results" / "learning-from-studies.md"
TARGETS = {"c10": "CIFAR-10", "c100": "CIFAR-100", "in16": "ImageNet16-120"}
LEARNING, SCRATCH = "learning from earlier studies", "Gaussian process from scratch"

INTRODUCTION = """# Learning from earlier studies: what it saves

**Question.** A new task on the NAS-Bench-201 space, 50 trials of 12 epochs. How often does a search
try the cell that is best after 200 epochs, with and without studies of other tasks to learn from?

`python benchmarks/learning_from_studies.py --seeds 500` writes this page and
`benchmarks/results/learning-from-studies.json`; it needs the benchmark data under `TRANSNAS_DATA`.
The model is specified in `transnas.meta.store.strategy`.
"""

PROTOCOL = """## Protocol

- *Reward*: validation accuracy after 12 epochs. The search sees nothing else of the target: no
  200-epoch value, no parameter count, no other data set.
- *Hit*: the cell with the best mean validation accuracy over seeds after 200 epochs was among the
  50 queries (index 6111 on CIFAR-10, 9930 on CIFAR-100, 10676 on ImageNet16-120). Each of the three
  is alone in its isomorphism class, so proposing one cell a class loses nothing.
- *Pools*, redrawn for every seed; the honest ones hold no NAS-Bench-201 table:
  D71 and D100 are the 7 TransNAS-Bench-101 tasks with 71 or 100 random cells each (497 or 700
  observations); C500 is 500 random rows of the ImageNet-subset tasks, taken as one source because
  most of those tasks have a single row. LOO, the two sister tables with 12-epoch rewards, is a
  sanity check only: sorting by their mean rank already meets the best cells at query 15, 3 and 15.
- *Misleading sources*: "permuted" shuffles each source's values over its cells; "reversed" negates
  them.
- Intervals are Wilson's 95%. Queries to hit count a miss as more than 50. Times are processor
  milliseconds of one thread, without the sources; learning is given beside them.
"""

TRAPS = """## Traps

- The TransNAS cells are the 4,096 without average pooling, and all three best cells are among them.
  That alone is worth little: random search inside the 4,096 is expected to hit 6 times of 500,
  random search over all cells 1.6 times. The ImageNet-subset tasks prefer good cells, and rows of
  the three best cells occur 2, 4 and 1 times among the 4,630 (measured on other data).
- The best cells are at rank 17, 22 and 33 of the 12-epoch rewards, so *selected by reward* can
  never be the best cell once a better-rewarded one was tried; that column has a ceiling of about
  91.50, 73.31 and 46.32.
- A deterministic method with a fixed pool would score 0 or 500. What varies here is the pool (for
  learning) or the search's own draws (for everything else). LOO has one pool; its seeds differ in
  the breaking of ties only.
"""

CHOICES = """## What was chosen, and how

Inside the TransNAS pool, with one task as pseudo-target and the other six as sources (71 cells
each, 20 to 60 draws), judged by how many of the pseudo-target's best 10 and 30 cells 50 queries
find: the shares of the kernel's three parts, the path scale, averaging over class members, the
standard deviation of the slopes, and three random starts without sources. So was the prior of the
relation: of three that were tried, (0.98, 0.01, 0.01) cost the original pool nothing (10.2 of the
best 30 found, 10.3 without the mixture) and still found 9.5 with reversed ranks (8.7 from scratch);
ten times less doubt found 8.6. Nothing was chosen on the ImageNet-subset tasks; C500 runs with the
settings that TransNAS gave. That the sources' own variance is added to the target's (`doubt`) was
neutral in the pool. It was added while a synthetic chain space was searched badly; the fault there
was another (the bound on bad rewards, with tied best ones), and it stayed because it is the model.

Taken from the prototype that came before, and not improved upon inside the pools: amplitude 0.5,
noise 0.34, the bound on bad rewards, expected improvement over the best posterior mean, normal
scores and averaging of individually smoothed sources. The prototype's authors had adopted three of
its structural choices after looks at the targets, a mild leak that this page inherits.

The targets were looked at after each round of pool selection (five rounds, 40 to 500 seeds), to see
where we stood; the pools preferred every change that was kept, or were indifferent (`doubt`). No
variant was taken or dropped for its target hits. In-pool differences between neighbouring settings
are mostly within noise: the optimum is flat.
"""


def write_page(result: Path) -> Path:
    """Write the page from the JSON at `result` and return its path."""
    data = json.loads(result.read_text())
    parts = [
        INTRODUCTION,
        _answer(data["rows"]),
        _hits_table(data["rows"]),
        _quality_table(data["rows"]),
        PROTOCOL,
        TRAPS,
        CHOICES,
        _shortfalls(data["rows"]),
        _machine(data),
    ]
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text("\n".join(parts))
    return PAGE


def _find(rows: list[dict[str, Any]], method: str, pool: str) -> dict[str, Any]:
    return next(row for row in rows if row["method"] == method and row["pool"] == pool)


def _three(row: dict[str, Any]) -> str:
    return " / ".join(str(row[t]["hits"]) for t in TARGETS)


def _answer(rows: list[dict[str, Any]]) -> str:
    seeds = rows[0]["c10"]["seeds"]
    d71, c500 = (_three(_find(rows, LEARNING, pool)) for pool in ("D71", "C500"))
    evolution = _three(_find(rows, "regularized evolution 10/10", "none"))
    reverse = _three(_find(rows, LEARNING, "D71, reversed"))
    return f"""**Answer**, hits of {seeds} seeds on CIFAR-10 / CIFAR-100 / ImageNet16-120:

- {d71} with 497 measurements of other tasks in another domain (D71),
- {c500} with 500 measurements of ImageNet subsets (C500),
- {_three(_find(rows, SCRATCH, "none"))} with the same search and nothing to learn from,
- {evolution} with regularized evolution,
- {reverse} if the ranks of every source of D71 are reversed.
"""


def _hits_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "## Hits within 50 queries",
        "",
        "Hits of the seeds [95% interval in percent]; below, queries to hit, 10 / 50 / 90%.",
        "",
        "| method | learns from | " + " | ".join(TARGETS.values()) + " |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [_hit_cell(row[t]) for t in TARGETS]
        lines.append(f"| {row['method']} | {row['pool']} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def _hit_cell(cell: dict[str, Any]) -> str:
    low, high = (100 * bound for bound in cell["hits_95"])
    queries = " / ".join("–" if q is None else str(q) for q in cell["queries_to_hit_10_50_90"])
    hits = f"{cell['hits']} of {cell['seeds']}"
    return f"{hits} [{low:.1f}, {high:.1f}]<br>{queries}"


def _quality_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "## Quality and time",
        "",
        "200-epoch validation accuracy, mean over seeds (standard deviation): best among the",
        "queried, and of the one with the best reward.",
        "",
        "| method | learns from | "
        + " | ".join(f"{name}: best queried; selected" for name in TARGETS.values())
        + " | ms a query | ms to learn |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [
            "{:.2f} ({:.2f}); {:.2f} ({:.2f})".format(
                *row[t]["best_queried"], *row[t]["selected_by_reward"]
            )
            for t in TARGETS
        ]
        per_query = sum(row[t]["ms_per_query"] for t in TARGETS) / len(TARGETS)
        time = f"{per_query:.2g}" if per_query >= 1e-3 else "< 0.001"
        learning = f"{row['learning_ms_per_seed']:.0f}" if row["learning_ms_per_seed"] else "–"
        columns = [row["method"], row["pool"], *cells, time, learning]
        lines.append("| " + " | ".join(columns) + " |")
    return "\n".join([*lines, ""])


GOALS = {
    ("D71", "hits"): (492, 488, 485),
    ("C500", "hits"): (490, 480, 485),
    ("none", "hits"): (375, 375, 360),
}
MEDIANS = (17, 20, 24)


def _shortfalls(rows: list[dict[str, Any]]) -> str:
    lines = [
        "## Against our goals",
        "",
        "Goals for 500 seeds, set before the work. Bold: not reached.",
        "",
        "| goal | " + " | ".join(TARGETS.values()) + " |",
        "| --- | --- | --- | --- |",
    ]
    for (pool, _), goals in GOALS.items():
        row = _find(rows, SCRATCH if pool == "none" else LEARNING, pool)
        label = "from scratch" if pool == "none" else pool
        cells = []
        for target, goal in zip(TARGETS, goals, strict=True):
            scaled = 500 * row[target]["hits"] / row[target]["seeds"]
            cells.append(_judged(round(scaled), goal, scaled >= goal, "≥"))
        lines.append(f"| hits, {label} | " + " | ".join(cells) + " |")
    d71 = _find(rows, LEARNING, "D71")
    medians = [d71[t]["queries_to_hit_10_50_90"][1] for t in TARGETS]
    cells = [
        _judged(found, goal, found is not None and found <= goal, "≤")
        for found, goal in zip(medians, MEDIANS, strict=True)
    ]
    lines.append("| median queries, D71 | " + " | ".join(cells) + " |")
    scratch = _find(rows, SCRATCH, "none")
    for pool in ("D71, reversed", "C500, reversed", "D71, permuted", "C500, permuted"):
        row = _find(rows, LEARNING, pool)
        share = 0.9 if "reversed" in pool else 1.0
        cells = []
        for target in TARGETS:
            goal = share * scratch[target]["hits"]
            # As good as from scratch means: no worse than twice the standard error of a difference.
            slack = 0 if "reversed" in pool else 2 * _difference_error(row, scratch, target)
            reached = row[target]["hits"] >= goal - slack
            cells.append(_judged(row[target]["hits"], round(goal), reached, "≥"))
        name = "90% of from scratch" if "reversed" in pool else "from scratch, within noise"
        lines.append(f"| {pool}: {name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", WHY])


WHY = """**Where it falls short, and why.** CIFAR-100 is the slowest of the three: its best cell has
rank 22 of the 12-epoch rewards and its upper rewards are separated by less than the noise of one
training (0.83 points between identical cells), so the search has to try the good region one by one.
From scratch it also has to find that region first. Rewards cannot say which of the tried cells is
the best one: training the best few longer is what decides.
"""


def _difference_error(row: dict[str, Any], other: dict[str, Any], target: str) -> float:
    n = row[target]["seeds"]
    p, q = (r[target]["hits"] / r[target]["seeds"] for r in (row, other))
    return float(n * ((p * (1 - p) + q * (1 - q)) / n) ** 0.5)


def _judged(found: int | None, goal: int, reached: bool, sign: str) -> str:
    shown = "> 50" if found is None else str(found)
    return f"{shown if reached else f'**{shown}**'} ({sign} {goal})"


def _machine(data: dict[str, Any]) -> str:
    machine = data["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    return f"""## Machine

{machine["processor"]}, {machine["cores"]} cores, one thread used; Python {machine["python"]},
{packages}; commit {machine["commit"]}, {machine["date"]}. {data["cpu_seconds"]:.0f} processor
seconds in all, of which {data["preparation_cpu_seconds"]:.0f} for start-up and the kernel of all
classes; peak memory {data["peak_memory_mib"]:.0f} MiB.
"""
