"""Every one-shot method on the digits, beside random architectures trained alike.

    python benchmarks/oneshot.py [--epochs 10] [--seeds 3] [--task digits]

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
from dataclasses import fields
from typing import Any

import numpy as np
from _record import RESULTS, write_result

from transnas import oneshot, spaces, tasks
from transnas.evaluation.table import Table
from transnas.evaluation.training import Recipe
from transnas.studies.final import train_final

SPACE = spaces.get("nasbench201")
SKELETON = {"channels": 8, "cells": 1}
FINAL_EPOCHS = 15
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
}
"""What replaces published settings in a search of a few epochs, where a method has the setting."""


def settings(method: str, epochs: int) -> Any:
    """Return the method's settings for a short search."""
    kind = oneshot.get(method).Settings
    known = {f.name for f in fields(kind)}
    return kind(**{k: v for k, v in {"epochs": epochs, **SHORT}.items() if k in known})


def found_by(method: str, task: Any, epochs: int, seed: int) -> tuple[Any, float]:
    """Return an architecture and the processor's seconds that finding it took."""
    started = time.process_time()
    if method == "random":
        return SPACE.sample(np.random.default_rng([seed, 99])), 0.0
    chosen = settings(method, epochs)
    result = oneshot.search(task, SPACE, method, chosen, skeleton=SKELETON, seed=seed, device="cpu")
    return result.architecture, time.process_time() - started


def run(method: str, task_name: str, epochs: int, seed: int) -> dict[str, Any]:
    """Search, train what was found, test it once, and look it up."""
    task = tasks.get(task_name)
    arch, seconds = found_by(method, task, epochs, seed)
    started = time.process_time()
    recipe = Recipe(epochs=FINAL_EPOCHS)
    _, test = train_final(task, SPACE, arch, FINAL_EPOCHS, seed, recipe, "cpu", SKELETON)
    table = Table(tasks.get("nasbench201/cifar10")).evaluate(arch)
    return {
        "method": method,
        "seed": seed,
        "architecture": SPACE.to_text(arch),
        "search_seconds": seconds,
        "training_seconds": time.process_time() - started,
        "test_accuracy": test.metrics["test_accuracy"],
        "nasbench201_cifar10_validation": table.metrics.get("validation_accuracy"),
    }


def main() -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--task", default="digits")
    parser.add_argument("--methods", nargs="*", default=["random", *oneshot.names()])
    given = parser.parse_args()
    name = f"oneshot-{given.task}"
    path = RESULTS / f"{name}.json"
    runs = json.loads(path.read_text())["runs"] if path.exists() else []
    done = {(r["method"], r["seed"]) for r in runs}
    for seed in range(given.seeds):
        for method in given.methods:
            if (method, seed) in done:
                continue
            runs.append(run(method, given.task, given.epochs, seed))
            print(runs[-1], flush=True)
            common = {"epochs": given.epochs, "final_epochs": FINAL_EPOCHS, "skeleton": SKELETON}
            write_result(name, {**common, "short": SHORT, "runs": runs})


if __name__ == "__main__":
    main()
