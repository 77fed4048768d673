"""Strategies with budgets on NAS-Bench-201, in simulated training time.

    python benchmarks/multifidelity.py [--seeds 20] [--trainings 30]

The table knows trainings of 12 and of 200 epochs, each with a learning rate that falls to zero, so
the rungs are these two (eta 16): who is promoted is trained anew for 200 epochs and pays for it.
A search ends when its trainings together would take longer than 30 mean trainings of 200. What it
found is the architecture with the best validation after 200 epochs of those trained so long; a
search that sees 12 epochs alone trains its best one for 200 epochs at the end, and pays for it.
Writes benchmarks/results/multifidelity.json; benchmarks/blackbox.py shows it on its page.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from typing import Any

import numpy as np
from _record import write_result

from transnas import spaces, tasks
from transnas.evaluation import Objective
from transnas.evaluation.table import Table
from transnas.spaces import Architecture
from transnas.strategies import create

SETS = ("cifar10", "cifar100", "imagenet16-120")
SHORT, FULL = 12, 200
BUDGETS = {"min_epochs": SHORT, "max_epochs": FULL, "eta": 16}
METHODS: dict[str, tuple[str, int | None, dict[str, Any]]] = {
    "random, 200 epochs": ("random", FULL, {}),
    "random, 12 epochs": ("random", SHORT, {}),
    "successive-halving": ("successive-halving", None, {**BUDGETS, "architectures": 16}),
    "hyperband": ("hyperband", None, BUDGETS),
    "asha": ("asha", None, BUDGETS),
    "bohb": ("bohb", None, BUDGETS),
    "architecture-bo, 200 epochs": ("architecture-bo", FULL, {}),
    "architecture-bo, 12 epochs": ("architecture-bo", SHORT, {}),
}
"""Strategy, its epochs (None: it says them itself) and its settings."""


def search(label: str, table: Table, seed: int, seconds: float) -> tuple[float, int]:
    """Return the validation accuracy after 200 epochs of what was found, and the trainings."""
    name, epochs, settings = METHODS[label]
    strategy = create(name, spaces.get("nasbench201"), seed, (Objective(),), **settings)
    spent, trainings = 0.0, 0
    best: dict[int, tuple[float, Architecture]] = {}
    while True:
        arch = strategy.ask()
        budget = epochs or strategy.budget(arch) or FULL
        measured = table.evaluate(arch, budget)
        candidate = (measured.metrics["validation_accuracy"], arch)
        leading = max(best.get(budget, candidate), candidate, key=lambda pair: pair[0])
        last = table.evaluate(leading[1], FULL) if epochs == SHORT else None
        needed = measured.cost.seconds + (last.cost.seconds if last else 0.0)
        if spent + needed > seconds:
            break
        strategy.tell(arch, measured)
        spent, trainings = spent + measured.cost.seconds, trainings + 1
        best[budget] = leading
    if epochs == SHORT:
        final = table.evaluate(best[SHORT][1], FULL).metrics["validation_accuracy"]
        return final, trainings + 1
    return best[FULL][0], trainings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--trainings", type=int, default=30)
    given = parser.parse_args()
    tables = {name: Table(tasks.get(f"nasbench201/{name}")) for name in SETS}
    rows: dict[str, dict[str, Any]] = {}
    for label in METHODS:
        rows[label] = {}
        for name, table in tables.items():
            seconds = given.trainings * float(np.mean(table.seconds(FULL)))
            runs = [search(label, table, seed, seconds) for seed in range(given.seeds)]
            accuracies = 100 * np.array([accuracy for accuracy, _ in runs])
            rows[label][name] = {
                "accuracies": accuracies.tolist(),
                "trainings": float(np.mean([count for _, count in runs])),
            }
            print(f"{label:28s} {name:15s} {accuracies.mean():.2f}", flush=True)
        result = {"full_trainings": given.trainings, "seeds": given.seeds, "rows": rows}
        write_result("multifidelity", result)


if __name__ == "__main__":
    main()
