"""Which search finds accurate cells that are fast enough? NAS-Bench-201 with HW-NAS-Bench.

    TRANSNAS_DATA=... python benchmarks/latency.py [--seeds 100] [--quick]

Writes benchmarks/results/latency.json and docs/results/latency.md. Takes about ten minutes on one
core with 100 seeds.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from _latency_page import write_page
from _record import write_result

from transnas import spaces, strategies, tasks
from transnas._data import data_folder
from transnas.evaluation import DeviceTable, Measurement, Objective
from transnas.evaluation.latency_reward import HARD, SOFT, latency_reward
from transnas.meta.store import SourceTask, StorePrior, learn, replicate_transfer
from transnas.studies._statistics import bootstrap_mean

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SPACE = spaces.get("nasbench201")
COLUMN, DATA_SET = "c100", "cifar100"
DEVICES = ("edgegpu", "raspi4", "pixel3", "fpga")
QUERIES = 50
FEASIBLE = 0.3
"""Share of all cells that are at most as slow as the target."""
CHANCE = 0.01
"""Accuracy that a search without a feasible cell counts with."""
CELLS = 71
"""Cells measured on each earlier task."""


class Problem:
    """One device: what a search sees, and what it is judged by."""

    def __init__(self, device: str) -> None:
        task = tasks.get(f"nasbench201/{DATA_SET}")
        with np.load(data_folder() / "nas" / "nasbench201.npz") as table:
            self.seen = table[f"val12_{COLUMN}"].astype(np.float64) / 100
            runs = table[f"val_{COLUMN}"].astype(np.float64) / 100
        self.final = np.nanmean(runs, axis=1)
        self.latency = DeviceTable(task, device).values()
        self.target = float(np.quantile(self.latency, FEASIBLE))
        self.feasible = self.latency <= self.target
        # Whatever beats the median cell in both counts towards the hypervolume.
        self.reference = float(np.median(self.final)), float(np.median(self.latency))
        self.whole = self.area(np.arange(SPACE.size))

    def rewards(self, quality: Doubles, constraint: Any) -> Doubles:
        """Return the latency reward of cells with these qualities, in index order."""
        weight = SOFT if constraint == "soft" else HARD
        pairs = zip(quality, self.latency, strict=True)
        return np.array(
            [latency_reward(q, lat, self.target, weight, constraint) for q, lat in pairs]
        )

    def area(self, asked: Indices) -> float:
        """Return the hypervolume of these cells over the reference point (final accuracy)."""
        accuracy, latency = self.final[asked], self.latency[asked]
        area, best = 0.0, self.reference[0]
        order = np.argsort(latency, kind="stable")
        for i, slower in zip(order, [*latency[order][1:], self.reference[1]], strict=True):
            best = max(best, float(accuracy[i]))
            until = min(float(slower), self.reference[1])
            area += max(0.0, until - float(latency[i])) * (best - self.reference[0])
        return area

    def judge(self, asked: Indices) -> dict[str, Any]:
        """Return means over seeds with 95% intervals; `asked` is [seeds, queries]."""
        fits = self.feasible[asked]
        chosen = np.where(fits, self.seen[asked], -1.0).argmax(axis=1)
        selected = self.final[asked[np.arange(len(asked)), chosen]]
        selected = np.where(fits.any(axis=1), selected, CHANCE)
        best = np.where(fits, self.final[asked], CHANCE).max(axis=1)
        areas = np.array([self.area(row) for row in asked]) / self.whole
        columns = np.stack([fits.mean(axis=1), areas, best, selected], axis=1)
        series = bootstrap_mean(columns)
        names = ("feasible_share", "hypervolume", "best_feasible", "selected_feasible")
        return {name: [float(s[i]) for s in series] for i, name in enumerate(names)}


def sources(problem: Problem | None, seed: int) -> list[SourceTask]:
    """Return the 7 TransNAS tasks with random cells; with a problem, ranked by latency reward too.

    Latencies of cells are known without training, so earlier accuracies become earlier rewards.
    A task's quality is its rank among the measured cells, over their number.
    """
    rng = np.random.default_rng([201, seed])
    with np.load(data_folder() / "nas" / "transnas101.npz") as table:
        names, ops = [str(n) for n in table["tasks"]], table["micro_ops"]
        values = table["micro_val"].astype(np.float64)
    found = []
    for j, name in enumerate(names):
        rows = rng.choice(len(ops), CELLS, replace=False)
        archs = [SPACE.architecture(codes) for codes in ops[rows]]
        quality = (values[rows, j].argsort().argsort() + 1) / CELLS
        if problem is not None:
            slow = problem.latency[[SPACE.index(arch) for arch in archs]]
            quality = np.array(
                [
                    latency_reward(q, lat, problem.target, HARD, "hard")
                    for q, lat in zip(quality, slow, strict=True)
                ]
            )
        found.append(SourceTask(name, archs, quality))
    return found


def two_objectives(problem: Problem, name: str, seeds: int, **settings: Any) -> Indices:
    """Run a multi-objective strategy on accuracy and latency, seed after seed."""
    objectives = (Objective("accuracy"), Objective("latency", maximise=False))
    asked = []
    for seed in range(seeds):
        strategy = strategies.create(name, SPACE, seed, objectives, **settings)
        row = []
        for _ in range(QUERIES):
            arch = strategy.ask()
            i = SPACE.index(arch)
            metrics = {"accuracy": float(problem.seen[i]), "latency": float(problem.latency[i])}
            strategy.tell(arch, Measurement(metrics))
            row.append(i)
        asked.append(row)
    return np.array(asked)


def methods(problem: Problem, seeds: int) -> dict[str, Callable[[], Indices]]:
    """Return each method's queries, [seeds, queries], by its name in the table."""
    hard, soft = (problem.rewards(problem.seen, rule) for rule in ("hard", "soft"))

    def single(name: str, rewards: Doubles, **settings: Any) -> Callable[[], Indices]:
        return lambda: strategies.replicate(name, SPACE, rewards, range(seeds), QUERIES, **settings)

    def transfer(known: Problem | None) -> Callable[[], Indices]:
        def run() -> Indices:
            priors = [learn(sources(known, seed), SPACE) for seed in range(seeds)]
            return replicate_transfer(SPACE, hard, range(seeds), QUERIES, priors)

        return run

    def scratch() -> Indices:
        none = [StorePrior(SPACE, ())] * seeds
        return replicate_transfer(SPACE, hard, range(seeds), QUERIES, none)

    return {
        "random": single("random", hard),
        "NSGA-II, two objectives": lambda: two_objectives(problem, "nsga2", seeds, population=10),
        "TPE, two objectives": lambda: two_objectives(problem, "tpe", max(20, seeds // 4)),
        "regularized evolution, soft reward": single(
            "regularized-evolution", soft, population=10, sample=10
        ),
        "regularized evolution, hard reward": single(
            "regularized-evolution", hard, population=10, sample=10
        ),
        "local search, hard reward": single("local-search", hard),
        "Gaussian process from scratch, hard reward": scratch,
        "learning from studies of accuracy, hard reward": transfer(None),
        "learning from studies of the reward, hard reward": transfer(problem),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--quick", action="store_true", help="5 seeds, to see that it runs")
    given = parser.parse_args()
    seeds = 5 if given.quick else given.seeds
    result: dict[str, Any] = {"queries": QUERIES, "data_set": DATA_SET, "devices": {}}
    name = "latency-quick" if given.quick else "latency"
    for device in DEVICES:
        problem, rows = Problem(device), []
        fits = np.where(problem.feasible, problem.final, 0.0)
        result["devices"][device] = {
            "target_ms": problem.target,
            "best_feasible": float(fits.max()),
            "rows": rows,
        }
        for method, run in methods(problem, seeds).items():
            began = time.process_time()
            asked = run()
            ms = 1e3 * (time.process_time() - began) / asked.size
            found = {"method": method, "seeds": len(asked), "ms_per_query": ms}
            rows.append({**found, **problem.judge(asked)})
            shown = ", ".join(f"{v[0]:.4f}" for v in rows[-1].values() if isinstance(v, list))
            print(f"{device:8s} {method:50s} {shown}", flush=True)
            path = write_result(name, {**result, "cpu_seconds": time.process_time()})
    if not given.quick:
        write_page(path)


if __name__ == "__main__":
    main()
