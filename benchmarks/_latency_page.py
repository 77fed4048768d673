"""The page docs/results/latency.md from the JSON of the benchmark."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent / "docs" / "results" / "latency.md"

INTRODUCTION = """# Searching under a latency target

**Question.** On NAS-Bench-201 with the measured latencies of HW-NAS-Bench: which search finds
accurate cells that are fast enough, in {queries} trials of 12 epochs on CIFAR-100?

`python benchmarks/latency.py` writes this page and `benchmarks/results/latency.json`; it needs the
benchmark data under `TRANSNAS_DATA`. On the command line the same search is

```
transnas search --task nasbench201/cifar100 --epochs 12 --device-table raspi4 \\
  --latency-target 19ms --latency-constraint hard
```

## Protocol

- *Target T*: three of ten cells are at most so slow. *Feasible*: at or below it.
- *Reward* (Tan et al., "MnasNet", CVPR 2019): P (LAT / T)^w, P the accuracy after 12 epochs. Soft:
  w = -0.07 on both sides; hard: w = 0 up to T and -1 above. Two-objective methods see P and LAT.
- *Hypervolume*: of accuracy after 200 epochs and latency, over the cell that is median in both, as
  a share of what all 15,625 cells together reach.
- *Best feasible*: the highest 200-epoch accuracy among the feasible cells tried; *selected*: that
  of the feasible one with the best 12-epoch accuracy, which is what a user would take. A search
  that tried no feasible cell counts with chance, 1 %.
- *Earlier studies*: 71 random cells on each of the 7 TransNAS-Bench-101 tasks, redrawn for every
  seed. "Of accuracy": their ranks as they are. "Of the reward": their ranks with the new target's
  latency factor, since a cell's latency is known without training.
- Intervals are 95%, bootstrapped over seeds. Equal queries for all; nothing is tuned here: the
  populations are 10 so that 50 queries hold several generations.
"""

READING = """## What this shows (100 seeds)

- *Earlier studies, ranked by the new target's reward*, reach the greatest hypervolume on three of
  four devices, and on the edge GPU the best feasible cell in every seed. It is not a matter of many
  feasible trials: they look at few, good ones near the target.
- *The hard reward* brings evolution and local search more feasible trials than NSGA-II's two
  objectives on most devices, and local search better feasible cells on all four. The soft reward
  does not: w = -0.07 is too weak to keep a search below the target.
- *What fails*: on the edge GPU the Gaussian process from scratch tries fewer feasible cells than
  random search does, and a search that learns from accuracies alone ends in some seeds without a
  feasible cell; so do searches that learn from rewards on the Raspberry Pi. The reward drops
  steeply at the target, which a smooth model does not expect.
"""


def write_page(path: Path) -> None:
    """Write the page of the result at `path`."""
    result = json.loads(path.read_text())
    parts = [INTRODUCTION.replace("{queries}", str(result["queries"]))]
    parts.append("## Results\n")
    for device, found in result["devices"].items():
        parts.append(
            f"### {device}: T = {found['target_ms']:.3g} ms, best feasible cell "
            f"{100 * found['best_feasible']:.2f} %\n"
        )
        parts.append(_table(found["rows"]))
    parts += [_reading(result), READING]
    machine = result["machine"]
    parts.append(
        f"Measured on {machine['processor']}, one thread, commit {machine['commit']}, "
        f"{machine['date']}; {result['cpu_seconds'] / 60:.0f} processor minutes in all.\n"
    )
    PAGE.write_text("\n".join(parts))


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| method | seeds | feasible | hypervolume | best feasible | selected | ms a query |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        cells = [row["method"], str(row["seeds"])]
        cells.append(_interval(row["feasible_share"], 0) + " %")
        cells += [_interval(row[n], 1) + " %" for n in ("hypervolume",)]
        cells += [_interval(row[n], 2) + " %" for n in ("best_feasible", "selected_feasible")]
        cells.append(f"{row['ms_per_query']:.1f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _interval(values: list[float], digits: int) -> str:
    mean, low, high = (f"{100 * v:.{digits}f}" for v in values)
    return f"{mean} [{low}, {high}]"


def _reading(result: dict[str, Any]) -> str:
    """Return on how many devices each method's intervals lie above or below NSGA-II's."""
    lines = ["### Against NSGA-II, over all devices\n"]
    lines += ["| method | feasible | hypervolume | best feasible |", "|---|---|---|---|"]
    devices = result["devices"].values()
    names = [row["method"] for row in next(iter(devices))["rows"]]
    reference = next(name for name in names if name.startswith("NSGA"))
    for name in names:
        if name == reference:
            continue
        cells = [name]
        for metric in ("feasible_share", "hypervolume", "best_feasible"):
            pairs = [
                [row[metric] for m in (name, reference) for row in d["rows"] if row["method"] == m]
                for d in devices
            ]
            above = sum(a[1] > b[2] for a, b in pairs)
            below = sum(a[2] < b[1] for a, b in pairs)
            cells.append(f"above on {above}, below on {below} of {len(pairs)}")
        lines.append(f"| {' | '.join(cells)} |")
    lines.append("\nAbove or below: the 95% intervals do not overlap.\n")
    return "\n".join(lines)
