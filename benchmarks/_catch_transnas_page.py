"""The page docs/results/catch-transnas.md from benchmarks/results/catch-transnas.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _catch_statistics import interval

PAGE = Path(__file__).parent.parent / "docs" / "results" / "catch-transnas.md"

BASES = ("catch", "learning from earlier studies")
"""Rows that every other one is compared with."""

HEAD = """\
# CATCH on TransNAS-Bench-101: leave one task out

Each of the 7 tasks is once the target, the other six are what is learnt from: 25 x 20 queries for
CATCH, 71 random cells a task for the store model and catch+. 50 queries on the 4,096 cells of the
micro space; the reward is validation after the last epoch, of the table's one seed, and also what
is judged. One command writes this page and `benchmarks/results/catch-transnas.json`:

    TRANSNAS_DATA=... python benchmarks/catch_transnas.py

Here, and not on NAS-Bench-201, the settings of CATCH are chosen. Intervals are 95 %, by bootstrap
over searches; replicates of one row are independent meta-trainings, 8 a task. The last columns are
differences to two rows, search by search, in cells of the best 30.
"""

READING = """\
## Reading

- CATCH has width 64 and 5 updates a query since a first selection here, when its importance weights
  were still wrong. With the right ones all rows were run again: width 128 finds no more, twice the
  updates find 0.7 more of the best 30 (interval [0.2, 1.2], the best of nine variants, so partly
  luck). The default stays: an agent's query would cost more than the 20 ms that are wanted.
- On another processor, whose rounding differs, the row `catch` found 2.64 of the best 30 and 1.20
  of the best 10 with the same seeds. CPU seconds were taken on a crowded machine.
- The encoder's share is not visible on this pool: with z = 0, or a random z, the agent finds as
  much within the interval. Nor do a KL weight of 0.01, isomorphic cells counted as one, ranks, more
  candidates, uniform replay or a higher learning rate change what is found.
- Meta-training helps against the same agent from scratch.
- Regularized evolution may ask for a cell twice; it is counted once. No other row repeats itself.
- All of CATCH's rows stay far below the Gaussian process from scratch and the store model.
- catch+ finds as much as the store model here, within the interval: what it adds shows on
  NAS-Bench-201 (catch-nasbench201.md), not on these tasks, so that its parts were chosen almost
  blindly.
"""


def write(result: Path, order: Sequence[str]) -> None:
    """Write the page from the result file, its rows in this order."""
    found = json.loads(result.read_text())
    rows = {name: found["rows"][name] for name in order if name in found["rows"]}
    machine = found["machine"]
    packages = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    foot = (
        f"Machine: {machine['processor']}, {machine['cores']} cores shared with other jobs, one "
        f"thread; Python {machine['python']}, {packages}; commit {machine['commit']}, "
        f"{machine['date']}. Rows were added to the result file one by one.\n"
    )
    PAGE.write_text("\n".join([HEAD, _table(rows), READING, foot]))


def _table(rows: dict[str, Any]) -> str:
    lines = [
        "| method | searches | best found, % | of the best 10 | of the best 30 "
        "| median rank of the best at 10 / 20 / 50 | CPU s | best 30, against catch "
        "| best 30, against earlier studies |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in rows.items():
        ranks = " / ".join(f"{np.median(ranks):.0f}" for ranks in row["best_rank"])
        cells = [_shown(row["hit"], 100, 0), _shown(row["found_10"]), _shown(row["found_30"])]
        cells += [ranks, str(row["cpu_seconds"])]
        cells += [_against(rows, name, other) for other in BASES]
        lines.append(f"| {name} | {len(row['hit'])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _against(rows: dict[str, Any], name: str, other: str) -> str:
    """Return how many more of the best 30 than row `other` of the same seeds."""
    if name == other or other not in rows or len(rows[other]["hit"]) != len(rows[name]["hit"]):
        return "–"
    more = np.array(rows[name]["found_30"]) - np.array(rows[other]["found_30"])
    return _shown(more.tolist())


def _shown(values: list[float], factor: float = 1, digits: int = 2) -> str:
    found = interval(np.array(values, dtype=np.float64)[:, None])
    mean, low, high = (f"{factor * v:.{digits}f}" for v in found)
    return f"{mean} [{low}, {high}]"
