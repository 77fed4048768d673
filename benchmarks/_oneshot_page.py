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


AGAIN = {
    "cifar10": "`enas` was run again, and `setn`, `rs-ws` and `one-shot` added, at commit d311bd7: "
    "they compare architectures on a few batches, which held one class of ten before, as the data "
    "come sorted. Before, the cells of `enas` had 43.33. The other rows are of commit cf996ca.",
    "digits": "`bayesnas`, `p-darts` and `proxylessnas` were run again at commit 3dea62b, since "
    "each had a fault: switches counted twice beside their variances, stages that did not deepen "
    "and a last one that learnt no logits, the weights' rate in the warm-up. Before, their test "
    "accuracies were 99.26, 97.21 and 97.40. BayesNAS derives pools from searches this short. The "
    "other rows are of commit cf996ca.",
}
"""What a page says of rows that are younger than the others."""
WANTED = 3


def incomplete(runs: Sequence[dict[str, Any]], methods: Sequence[str]) -> list[str]:
    """Return a paragraph on the rows with fewer than three searches, if there are any."""
    counts = {method: sum(run["method"] == method for run in runs) for method in methods}
    few = [f"`{method}` ({count})" for method, count in counts.items() if count < WANTED]
    if not few:
        return []
    return [
        f"**Incomplete**: {WANTED} searches of each are wanted; {', '.join(few)} have fewer. The "
        "script goes on from the runs that are there.",
        "",
    ]


def interval(values: Sequence[float]) -> str:
    """Return a mean in percent with its 95% interval, if there are several values."""
    mean, low, high = (100 * float(v[0]) for v in bootstrap_mean(np.array(values)[:, None]))
    return f"{mean:.2f}" if len(values) == 1 else f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def about(found: dict[str, Any], task: str) -> str:
    """Return what was searched on."""
    images = "All its images" if found["limit"] is None else (
        f"{found['limit']} images a class for training and as many for validation"
    )  # fmt: skip
    size = f", averaged down to {found['side']} pixels" if found["side"] else ""
    return f"{images}{size}; the test split is whole."


def page(found: dict[str, Any], task: str) -> str:
    """Return the page as Markdown."""
    machine, runs = found["machine"], found["runs"]
    methods = [m for m in found["methods"] if any(run["method"] == m for run in runs)]
    lines = [
        f"# One-shot methods on {task}",
        "",
        f"Space NAS-Bench-201, supernet and network of {found['skeleton']['channels']} channels "
        f"and {found['skeleton']['cells']} cell a stage. {about(found, task)} Every method "
        f"searches for {found['epochs']} epochs (BayesNAS and P-DARTS divide them among their "
        f"rounds; RobustDARTS may stop early); what it derives is trained for "
        f"{found['final_epochs']} epochs on training and validation data and tested once. "
        "`random` is an architecture drawn uniformly, trained alike. Settings that published "
        "searches of 50 to 250 epochs need are replaced for so short a search (see `SHORT` in the "
        "script). Seconds are the processor's, one thread, on a machine that others used too: "
        "they say what is dear (`robust-darts` is second order), not what a quiet machine takes.",
        "",
        "The last columns are of CIFAR-10: what the NAS-Bench-201 table has for the cells derived "
        "here (validation and test, 200 epochs, mean of its runs), and what is published for the "
        "method searching there with the published budgets (validation / test). `random` is over "
        "the whole table there.",
        "",
        "| method | searches | test accuracy, % | search, s | its cells: validation, % "
        "| test, % | published, % |",
        "|---|---|---|---|---|---|---|",
    ]
    for method in methods:
        own = [run for run in runs if run["method"] == method]
        known = [interval([r[f"cifar10_{split}"] for r in own]) for split in ("validation", "test")]
        if method == "random":
            known = [f"{100 * found['whole_space'][f'cifar10_{s}']:.2f}" for s in
                     ("validation", "test")]  # fmt: skip
        lines.append(
            f"| {method} | {len(own)} | {interval([r['test_accuracy'] for r in own])} "
            f"| {np.mean([r['search_seconds'] for r in own]):.1f} "
            f"| {' | '.join(known)} | {PUBLISHED.get(method, '')} |"
        )
    lines += [
        "",
        *incomplete(runs, found["methods"]),
        *([AGAIN[task], ""] if task in AGAIN else []),
        f"{machine['processor']}, one thread, torch {machine['packages']['torch']}, commit "
        f"{machine['commit']}, {machine['date']}. Intervals: 95% bootstrap of the mean over seeds; "
        "with three seeds they are rough, and methods whose intervals overlap are not told apart.",
        "",
        f"    python benchmarks/oneshot.py {task}",
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
