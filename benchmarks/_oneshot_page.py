"""The page of benchmarks/oneshot.py: docs/results/oneshot-<task>.md from its JSON.

python benchmarks/_oneshot_page.py [digits]
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from _record import RESULTS

from transnas.studies._statistics import bootstrap_mean

DOCS = Path(__file__).parents[1] / "docs" / "results"
PUBLISHED = {
    "darts": "39.77 / 54.30",
    "snas": "90.10 ± 1.04 / 92.77 ± 0.83",
    "gdas": "89.89 ± 0.08 / 93.61 ± 0.09",
    "setn": "84.04 ± 0.28 / 87.64 ± 0.00",
    "enas": "37.51 ± 3.19 / 53.89 ± 0.58",
    "rs-ws": "84.16 ± 1.69 / 87.66 ± 1.69",
    "pc-darts": "89.96 ± 0.15 / 93.41 ± 0.30",
}
"""Validation / test accuracy on CIFAR-10 of what the method finds there on NAS-Bench-201, percent.

Dong & Yang, ICLR 2020, and (SNAS, PC-DARTS) later third parties: searches on CIFAR-10 itself.
"""


def interval(values: Sequence[float]) -> str:
    """Return a mean in percent with its 95% interval, if there are several values."""
    mean, low, high = (100 * float(v[0]) for v in bootstrap_mean(np.array(values)[:, None]))
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def page(found: dict[str, Any], task: str) -> str:
    """Return the page as Markdown."""
    machine, runs = found["machine"], found["runs"]
    methods = list(dict.fromkeys(run["method"] for run in runs))
    lines = [
        f"# One-shot methods on {task}",
        "",
        f"Space NAS-Bench-201, supernet and network of {found['skeleton']['channels']} channels "
        f"and {found['skeleton']['cells']} cell a stage. Every method searches for "
        f"{found['epochs']} epochs (BayesNAS and P-DARTS divide them among their rounds); what it "
        f"derives is trained for {found['final_epochs']} epochs on training and validation data "
        "and tested once. `random` is an architecture drawn uniformly, trained alike. Settings "
        "that published searches of 50 to 250 epochs need are replaced for so short a search (see "
        "`SHORT` in the script), so this says that each method runs and what it costs, not which "
        "is best. Seconds are the processor's, on a machine that others used too.",
        "",
        "The last two columns are of CIFAR-10, which these searches have not seen: what the table "
        "has for the cells derived here (validation, 200 epochs, mean of its runs), and what is "
        "published for the method searching there (validation / test).",
        "",
        "| method | seeds | test accuracy, % | search, s | cells on CIFAR-10, % | published, % |",
        "|---|---|---|---|---|---|",
    ]
    for method in methods:
        own = [run for run in runs if run["method"] == method]
        known = [r["nasbench201_cifar10_validation"] for r in own]
        lines.append(
            f"| {method} | {len(own)} | {interval([r['test_accuracy'] for r in own])} "
            f"| {np.mean([r['search_seconds'] for r in own]):.1f} "
            f"| {interval(known)} | {PUBLISHED.get(method, '')} |"
        )
    lines += [
        "",
        f"{machine['processor']}, one thread, torch {machine['packages']['torch']}, commit "
        f"{machine['commit']}, {machine['date']}. Intervals: 95% bootstrap of the mean over seeds.",
        "",
        f"    python benchmarks/oneshot.py --task {task}",
        f"    python benchmarks/_oneshot_page.py {task}",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    """Write the page."""
    task = sys.argv[1] if len(sys.argv) > 1 else "digits"
    found = json.loads((RESULTS / f"oneshot-{task}.json").read_text())
    out = DOCS / f"oneshot-{task}.md"
    out.write_text(page(found, task))
    print(out)


if __name__ == "__main__":
    main()
