"""CATCH where every network is really trained: subsets of digits, the residual space, a CPU.

    TRANSNAS_DATA=... python benchmarks/catch_residual.py [--seeds 10]

For each seed six classes of `digits` are for meta-training (tasks of 3 to 5 of them) and the four
others are the new task. Every search of the new task gets the same seconds of CPU time, for its
training and its own thinking together. Each training is written to
benchmarks/results/catch-residual.json as it ends; stopped, the run goes on where it was. Writes
docs/results/catch-residual.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import _catch_residual_page
import numpy as np
import torch
from _record import RESULTS, write_result

from transnas import spaces, strategies, tasks
from transnas.evaluation import Objective
from transnas.evaluation.training import Recipe, Training
from transnas.meta.catch import (
    CatchPrior,
    CatchSettings,
    CatchStrategy,
    SubsetFamily,
    TaskFamily,
    meta_train,
)
from transnas.meta.catch.plus import learn_plus
from transnas.meta.store import SourceTask
from transnas.spaces import Architecture
from transnas.strategies import Strategy
from transnas.tasks import DataTask
from transnas.tasks._subset import of_classes

SPACE = spaces.get("residual-small")
RECIPE = Recipe(epochs=3)
META_EPOCHS, META_QUERIES = 5, 8
LEARNT_CLASSES = 6
SECONDS = 15.0
"""CPU seconds of a search of the new task: about 8 networks of average size."""
RETRAININGS = 2
"""Fresh trainings of what a search chose, to judge it by."""
ADAPTATION = CatchSettings(initial=2)
"""Random networks at the start of a new task: about the share of 8 queries that 5 are of 50."""


class Recorded(TaskFamily):
    """A family that remembers its trainings, so that meta-training can be run again at no cost."""

    def __init__(self, inner: SubsetFamily, known: list[dict[str, Any]], save: Callable[[], None]):
        self.inner, self.space, self.known, self.save = inner, inner.space, known, save

    def tasks(self, seeds: Sequence[int], epoch: int) -> Callable[..., Any]:
        (seed,) = seeds
        name, train = self.inner.task(seed, epoch).name, self.inner.tasks(seeds, epoch)

        def rewards(codes: Any) -> Any:
            values = codes[0].tolist()
            for row in self.known:
                if row["epoch"] == epoch and row["values"] == values:
                    return np.array([row["reward"]])
            began = time.process_time()
            reward = float(train(codes)[0])
            spent = time.process_time() - began
            self.known.append(
                {"epoch": epoch, "task": name, "values": values, "reward": reward, "cpu": spent}
            )
            self.save()
            return np.array([reward])

        return rewards

    def describe(self) -> dict[str, Any]:
        return self.inner.describe()


def split(seed: int) -> tuple[SubsetFamily, DataTask]:
    """Return the family to learn from and the new task, which share no class."""
    digits = tasks.get("digits")
    assert isinstance(digits, DataTask)
    order = np.random.default_rng([35, seed]).permutation(10).tolist()
    learnt = of_classes(digits, sorted(order[:LEARNT_CLASSES]))
    new = of_classes(digits, sorted(order[LEARNT_CLASSES:]))
    return SubsetFamily(learnt, SPACE, (3, 4, 5), RECIPE, "cpu"), new


def sources(known: list[dict[str, Any]]) -> list[SourceTask]:
    """Return the trainings of meta-training as earlier studies, one a task."""
    found = []
    for epoch in sorted({row["epoch"] for row in known}):
        rows = [row for row in known if row["epoch"] == epoch]
        archs = [Architecture(SPACE.name, tuple(row["values"])) for row in rows]
        found.append(SourceTask(rows[0]["task"], archs, [row["reward"] for row in rows]))
    return found


def searcher(method: str, seed: int, prior: CatchPrior, known: list[dict[str, Any]]) -> Strategy:
    """Return the strategy of a row."""
    if method == "CATCH":
        return CatchStrategy(SPACE, seed, settings=ADAPTATION, prior=prior)
    if method == "catch+":
        return learn_plus(sources(known), SPACE, seed).strategy(SPACE, seed)
    if method == "regularized evolution":
        return strategies.create("regularized-evolution", SPACE, seed, population=4, sample=2)
    return strategies.create("random", SPACE, seed)


METHODS = ("random", "regularized evolution", "CATCH", "catch+")


def search(task: DataTask, strategy: Strategy, seed: int) -> dict[str, Any]:
    """Search until the seconds are spent; what ends after them counts only if it is the first."""
    training, objective = Training(task, SPACE, RECIPE, "cpu"), Objective()
    values, rewards, at, own = [], [], [], 0.0
    began = time.process_time()
    while True:
        start = time.process_time()
        arch = strategy.ask()
        asked = time.process_time()
        measurement = training.evaluate(arch, seed=seed)
        end = time.process_time()
        if values and end - began > SECONDS:
            break
        strategy.tell(arch, measurement)
        own += asked - start + time.process_time() - end
        values.append(list(arch.values))
        rewards.append(objective.reward(measurement))
        at.append(end - began)
    return {"values": values, "rewards": rewards, "at": at, "own_cpu": own}


def retrain(task: DataTask, values: list[int]) -> list[float]:
    """Return the validation accuracy of fresh trainings of one network."""
    training, objective = Training(task, SPACE, RECIPE, "cpu"), Objective()
    arch = Architecture(SPACE.name, tuple(values))
    seeds = range(10_000, 10_000 + RETRAININGS)
    return [objective.reward(training.evaluate(arch, seed=s)) for s in seeds]


def main() -> None:
    """Run what the result file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "catch-residual.json"
    setting = {"seconds": SECONDS, "epochs": RECIPE.epochs, "meta": [META_EPOCHS, META_QUERIES]}
    result: dict[str, Any] = {"setting": setting, "seeds": {}}
    if path.exists() and json.loads(path.read_text())["setting"] == setting:
        result["seeds"] = json.loads(path.read_text())["seeds"]

    def save() -> None:
        _catch_residual_page.write(write_result("catch-residual", result))

    for seed in range(given.seeds):
        row = result["seeds"].setdefault(str(seed), {"known": [], "searches": {}})
        subsets, task = split(seed)
        row["task"] = task.name
        family = Recorded(subsets, row["known"], save)
        trained = meta_train(family, SPACE, [seed], epochs=META_EPOCHS, queries=META_QUERIES)
        for method in METHODS:
            if method in row["searches"]:
                continue
            found = search(task, searcher(method, seed, trained.prior(), row["known"]), seed)
            chosen = found["values"][int(np.argmax(found["rewards"]))]
            found["retrained"] = retrain(task, chosen)
            row["searches"][method] = found
            best, count = max(found["rewards"]), len(found["rewards"])
            again = np.mean(found["retrained"])
            print(f"{seed} {method}: {count} networks, {best:.3f}, again {again:.3f}", flush=True)
            save()


if __name__ == "__main__":
    main()
