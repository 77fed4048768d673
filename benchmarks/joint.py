"""Architecture, learning rate and weight decay searched together, trained for real on digits.

    python benchmarks/joint.py [--seeds 5] [--epochs 78]

Hyperband (1 to 9 epochs a training, promoted ones trained anew and paid for) against random search
with 9 epochs each, at equal epochs in all. The result of a search is the validation accuracy of
its best full training. Each seed is kept in benchmarks/results/joint.json as soon as it is there.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from _bayesian_page import write_page
from _record import RESULTS, write_result
from scipy.stats import t

from transnas import spaces, tasks
from transnas.evaluation import Evaluator, Measurement, Objective, Recipe, Training
from transnas.spaces import Architecture, Range, Space
from transnas.strategies import create

FULL = 9
SKELETON = {"channels": 4, "cells": 1}


class Joint(Space):
    """The NAS-Bench-201 cell beside a learning rate and a weight decay."""

    base = spaces.get("nasbench201")
    name = "nasbench201-joint"
    choices = base.choices
    ranges = (
        Range("learning_rate", 1e-3, 1.0, log=True),
        Range("weight_decay", 1e-5, 1e-2, log=True),
    )


class JointTraining(Evaluator):
    """Trains the cell with the recipe that its numbers name."""

    def __init__(self) -> None:
        self.task = tasks.get("digits")

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        rate, decay = arch.numbers
        recipe = replace(Recipe(), learning_rate=rate, weight_decay=decay, augment=False)
        cell = Architecture(Joint.base.name, arch.values)
        training = Training(self.task, Joint.base, recipe, "cpu", skeleton=SKELETON)
        return training.evaluate(cell, FULL if budget is None else budget, seed)


def search(name: str, seed: int, epochs: int, evaluator: Evaluator) -> dict[str, Any]:
    """Search until the next training would exceed `epochs` in all."""
    settings = {"max_epochs": FULL} if name == "hyperband" else {}
    strategy = create(name, Joint(), seed, (Objective(),), **settings)
    best, spent, trainings, started = 0.0, 0.0, 0, time.process_time()
    while True:
        arch = strategy.ask()
        budget = strategy.budget(arch) or FULL
        if spent + budget > epochs:
            break
        measured = evaluator.evaluate(arch, budget, seed)
        strategy.tell(arch, measured)
        spent += budget  # a failed training is paid for as if it had ended
        trainings += 1
        if budget == FULL and measured.status == "complete":
            best = max(best, measured.metrics["validation_accuracy"])
    return {"best": best, "epochs": spent, "trainings": trainings,
            "seconds": time.process_time() - started}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=78)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stored = RESULTS / "joint.json"
    rows = json.loads(stored.read_text())["rows"] if stored.exists() else []
    evaluator = JointTraining()
    for seed in range(len(rows), given.seeds):
        pair = {n: search(n, seed, given.epochs, evaluator) for n in ("hyperband", "random")}
        rows.append({"seed": seed, **pair})
        gain = np.array([r["hyperband"]["best"] - r["random"]["best"] for r in rows])
        half = float("nan")
        if len(rows) > 1:
            half = float(t.ppf(0.975, len(rows) - 1) * gain.std(ddof=1) / np.sqrt(len(rows)))
        summary = {"seeds": len(rows), "difference": float(gain.mean()),
                   "half_width_95": half if len(rows) > 1 else None,
                   "hyperband": float(np.mean([r["hyperband"]["best"] for r in rows])),
                   "random": float(np.mean([r["random"]["best"] for r in rows]))}  # fmt: skip
        write_result("joint", {"epochs": given.epochs, "full": FULL, "skeleton": SKELETON,
                               "summary": summary, "rows": rows})  # fmt: skip
        write_page()
        print(seed, summary, flush=True)


if __name__ == "__main__":
    main()
