"""The page docs/results/catch-encoder.md from benchmarks/results/catch-encoder.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, t

PAGE = Path(__file__).parent.parent / "docs" / "results" / "catch-encoder.md"
HEAD = """\
# What CATCH's encoder is good for

Tasks with a known answer: the reward of a NAS-Bench-201 cell is linear in its operations, plus
noise of deviation 0.1, and a task is an angle on a circle of directions. Agents are meta-trained
(20 queries an epoch, one task each) on random angles and search an unseen one. `python
benchmarks/catch_encoder.py` writes this page; it needs no data. Shown is the exact reward of the
best cell queried, mean over independent meta-trainings; the last columns compare with z = 0 of as
many meta-epochs, replicate by replicate (same task, same five random starts), with the 95 %
t-interval and the two-sided sign test over those that differ. *Probe*: R² of an unseen task's
direction, linear in the posterior's mean after ten random cells.
"""
READING = """\
## Reading

Meta-training pays early: after 25 meta-epochs an agent is 0.7 ± 0.6 ahead of one from scratch at 8
queries, and no longer at 20; whether it knows its task makes no difference yet. After 120 it does:
with the encoder an agent is 0.8 ahead of z = 0 at 10 queries and 1.0 at 20, and ahead of from
scratch by 0.9 ± 0.6 and 0.6 ± 0.6. Agents without a context gain nothing from more meta-training,
as they settle on what is good on average over the circle; with it, 120 meta-epochs bring 0.7 ± 0.7
over 25 at 20 queries. That a task can be read from the posterior (probe) says little: it can after
one meta-epoch too, as these rewards are linear.
"""


def write(result: Path) -> None:
    """Write the page from the result file."""
    found = json.loads(result.read_text())
    rows, points, machine = found["rows"], found["points"], found["machine"]
    titles = [f"best at {p}" for p in points]
    lines = [
        HEAD,
        "| agent | replicates | " + " | ".join(titles) + " | probe R² | CPU s "
        "| at 10, against z = 0 | at 20, against z = 0 | differ, better, p |",
        "| --- " * (len(titles) + 7) + "|",
        *(_line(name, row, rows, points) for name, row in rows.items()),
        "",
        READING,
        f"Machine: {machine['processor']}, one thread; commit {machine['commit']}, "
        f"{machine['date']}.",
        "",
    ]
    PAGE.write_text("\n".join(lines))


def _line(name: str, row: dict[str, Any], rows: dict[str, Any], points: list[int]) -> str:
    best = np.array(row["best"])
    means = " | ".join(f"{b:.2f}" for b in best.mean(axis=1))
    probe = f"{row['probe']:.2f}" if "probe" in row else ""
    cells = [name, str(best.shape[1]), means, probe, f"{row['cpu_seconds']:.0f}"]
    zero = f"z = 0, {name.partition(', ')[2]}"
    if zero in rows and zero != name:
        apart = best - np.array(rows[zero]["best"])
        cells += [_interval(apart[points.index(p)]) for p in (10, 20)] + [_signs(apart[-1])]
    else:
        cells += ["", "", ""]
    return f"| {' | '.join(cells)} |"


def _interval(values: np.ndarray) -> str:
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():+.2f} ± {half:.2f}"


def _signs(values: np.ndarray) -> str:
    differ, better = int((values != 0).sum()), int((values > 0).sum())
    if not differ:
        return "0, 0, 1"
    return f"{differ}, {better}, {binomtest(better, differ).pvalue:.2g}"
