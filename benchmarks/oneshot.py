"""One-shot methods on one task, beside random architectures trained alike.

    python benchmarks/oneshot.py [digits|cifar10] [--seeds 3] [--methods darts gdas]

Space NAS-Bench-201, a network of 8 channels and one cell a stage. Each method trains its supernet
for the same number of epochs (learning rates of logits and controllers are raised, since published
ones are for hundreds of epochs); what it derives is trained alone on training and validation data
and tested once. The derived cells are looked up in the NAS-Bench-201 table too. Writes
benchmarks/results/oneshot-<task>.json after each run, and goes on from what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from _record import RESULTS, write_result

from transnas import oneshot, spaces, tasks
from transnas.evaluation.table import Table
from transnas.evaluation.training import Recipe
from transnas.studies.final import train_final
from transnas.tasks import DataTask
from transnas.tasks._resized import resized

SPACE = spaces.get("nasbench201")
SKELETON = {"channels": 8, "cells": 1}
SEEDS, RANDOM_SEEDS = 3, 6
"""Searches of each method, and random architectures, which cost no search."""
DEAR = ("robust-darts",)
"""Second order; run when all else is done."""
SHORT = {
    "logits_learning_rate": 0.02,
    "logits_from": 2,
    "batch_size": 64,
    "candidates": 100,
    "batches": 2,
    "controller_steps": 5,
    "rewards": 5,
    "controller_learning_rate": 0.01,
    "deeper": 1,
    "earliest": 4,
    "every": 1,
    "delta": 2,
    "drop_path": 0.0,
}
"""What replaces published settings in a search of a few epochs, where a method has the setting."""
COLD = ("bayesnas", "enas", "one-shot", "rs-ws", "snas")
"""Measured without a warm-up (`logits_from`): all but SNAS have none."""


@dataclass(frozen=True)
class Case:
    """What is searched on."""

    methods: tuple[str, ...]
    epochs: int
    """Of each search."""
    final_epochs: int
    limit: int | None = None
    """Images a class for training, and as many for validation."""
    side: int | None = None
    """Images are averaged down to so many pixels."""

    def task(self, name: str) -> DataTask:
        """Return a fresh task, of which the test split has not been looked at."""
        task = tasks.get(name, **({"limit": self.limit} if self.limit else {}))
        assert isinstance(task, DataTask)
        return resized(task, self.side) if self.side else task


CASES = {
    "digits": Case(("random", *oneshot.names()), epochs=15, final_epochs=15),
    "cifar10": Case(
        ("random", "darts", "gdas", "pc-darts", "enas", "setn", "rs-ws", "one-shot"),
        epochs=10,
        final_epochs=10,
        limit=200,
        side=16,
    ),
}


def settings(method: str, epochs: int) -> Any:
    """Return the method's settings for a short search."""
    kind = oneshot.get(method).Settings
    known = {f.name for f in fields(kind)} - ({"logits_from"} if method in COLD else set())
    return kind(**{k: v for k, v in {"epochs": epochs, **SHORT}.items() if k in known})


def found_by(method: str, task: DataTask, epochs: int, seed: int) -> tuple[Any, float]:
    """Return an architecture and the processor's seconds that finding it took."""
    started = time.process_time()
    if method == "random":
        return SPACE.sample(np.random.default_rng([seed, 99])), 0.0
    chosen = settings(method, epochs)
    result = oneshot.search(task, SPACE, method, chosen, skeleton=SKELETON, seed=seed, device="cpu")
    return result.architecture, time.process_time() - started


def run(method: str, task_name: str, seed: int) -> dict[str, Any]:
    """Search, train what was found, test it once, and look it up."""
    case = CASES[task_name]
    task = case.task(task_name)
    arch, seconds = found_by(method, task, case.epochs, seed)
    started = time.process_time()
    recipe = Recipe(epochs=case.final_epochs)
    _, test = train_final(task, SPACE, arch, case.final_epochs, seed, recipe, "cpu", SKELETON)
    table = Table(tasks.get("nasbench201/cifar10"))
    return {
        "method": method,
        "seed": seed,
        "architecture": SPACE.to_text(arch),
        "search_seconds": seconds,
        "training_seconds": time.process_time() - started,
        "test_accuracy": test.metrics["test_accuracy"],
        "cifar10_validation": table.evaluate(arch).metrics["validation_accuracy"],
        "cifar10_test": table.final_test(arch)["test_accuracy"],
    }


def whole_space() -> dict[str, float]:
    """Return what a random architecture is worth in the table: the mean over all."""
    table = Table(tasks.get("nasbench201/cifar10"))
    tests = [table.final_test(arch)["test_accuracy"] for arch in SPACE.architectures()]
    validation = float(table.rewards().mean())
    return {"cifar10_validation": validation, "cifar10_test": float(np.mean(tests))}


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("task", nargs="?", default="digits", choices=CASES)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of what is searched")
    parser.add_argument("--methods", nargs="*", help="only these")
    given = parser.parse_args()
    name, case = given.task, CASES[given.task]
    path = RESULTS / f"oneshot-{name}.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    done = {(r["method"], r["seed"]) for r in runs}
    common = {**asdict(case), "skeleton": SKELETON, "short": SHORT, "whole_space": whole_space()}
    wanted = [
        (seed, method)
        for seed in range(max(given.seeds, RANDOM_SEEDS))
        for method in (case.methods if seed < given.seeds else ("random",))
        if (method, seed) not in done and method in (given.methods or case.methods)
    ]
    for seed, method in sorted(wanted, key=lambda w: w[1] in DEAR):
        runs.append(run(method, name, seed))
        print(runs[-1], flush=True)
        write_result(f"oneshot-{name}", {**common, "runs": runs})


if __name__ == "__main__":
    main()
