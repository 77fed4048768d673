"""CATCH on NAS-Bench-201: the protocol of the paper's Figure 3 and its ablations.

    TRANSNAS_DATA=... python benchmarks/catch.py                # 50 meta-trainings x 10 searches
    TRANSNAS_DATA=... python benchmarks/catch.py --replicates 10
    TRANSNAS_DATA=... python benchmarks/catch.py --quick        # 2 x 2, to see that it runs

Searches see the 12-epoch validation accuracy and nothing else of the target. Meta-training sees
no NAS-Bench-201 evaluation: pool D has the 7 TransNAS-Bench-101 tasks (25 x 20 queries), pool
C500 a model of 500 (ImageNet-subset task, cell, accuracy) rows, redrawn for each meta-training.
Rows that the result file already has with the same arguments are kept, so an interrupted run
goes on. Writes benchmarks/results/catch.json and docs/results/catch-nasbench201.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import _catch_page
import numpy as np
import numpy.typing as npt
import torch
from _record import RESULTS, write_result

from transnas import spaces, tasks
from transnas._data import data_folder
from transnas.evaluation.table import Table
from transnas.meta.catch import CatchSettings, SurrogateFamily, TableFamily, TaskFamily, meta_train
from transnas.meta.catch.agent import Agent, run_task
from transnas.meta.catch.catcher import Catcher
from transnas.meta.catch.coding import Codes, Coding
from transnas.strategies import replicate

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

TARGETS = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}
QUERIES = 50
CHUNK = 10
"""Replicates run together: their parameters then fit the processor's cache."""
SEARCH_SEEDS = 1_000_000
"""Seeds of searches begin here, those of meta-training at 0."""


@dataclass(frozen=True)
class Target:
    """One data set: the reward that is searched by, and what hits are judged by, [15625] each."""

    reward: Floats
    mean: Floats
    seed888: Floats
    test: Floats

    def best(self, by: str, count: int = 1) -> Ints:
        """Return the cells within 5e-4 points of the `count`-th best value of column `by`."""
        values: Floats = getattr(self, by)
        floor = np.sort(values)[-count] - 5e-4
        found: Ints = np.flatnonzero(values >= floor)
        return found


@cache
def target(name: str) -> Target:
    """Return one data set's columns, in percent."""
    table = Table(tasks.get(f"nasbench201/{name}"))  # type: ignore[arg-type]
    short = TARGETS[name]
    folder = data_folder() / "nas"
    with np.load(folder / "nasbench201.npz", allow_pickle=False) as file:
        seed888 = file[f"val_{short}"][:, 1].astype(np.float64)
    with np.load(folder / "nasbench201_test.npz", allow_pickle=False) as file:
        test = file[f"test_{short}"].astype(np.float64)
    return Target(100 * table.rewards(budget=12), 100 * table.rewards(), seed888, test)


@cache
def index_of() -> Ints:
    """Return the official index of every code sequence, [5, 5, 5, 5, 5, 5]."""
    found = np.zeros((5,) * 6, dtype=np.int64)
    for i, arch in enumerate(spaces.get("nasbench201").architectures()):
        found[arch.values] = i
    return found


def search(agent: Agent, reward: Floats) -> Ints:
    """Return the cells that the agents asked for, [R, queries]."""

    def evaluate(codes: Codes) -> Floats:
        found: Floats = reward[index_of()[tuple(codes.T)]]
        return found

    asked = run_task(agent, evaluate, QUERIES)
    found: Ints = index_of()[tuple(np.moveaxis(asked, -1, 0))]
    return found


def family(pool: str, seeds: list[int]) -> TaskFamily:
    """Return the tasks of a pool; C500 draws its own 500 rows for each seed."""
    space = spaces.get("nasbench201")
    if pool == "C500":
        return SurrogateFamily.of_metad2a(space, seeds, rows=500)
    names = [n for n in tasks.names() if n.startswith("transnas101-micro/")]
    return TableFamily.of_tasks([tasks.get(n) for n in names], space)  # type: ignore[misc]


def meta(pool: str, settings: CatchSettings) -> Callable[[int, int], dict[str, Ints]]:
    """Return a method: meta-train `replicates` agents, search `searches` times with each."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        asked: dict[str, list[Ints]] = {name: [] for name in TARGETS}
        for start in range(0, replicates, CHUNK):
            seeds = list(range(start, min(start + CHUNK, replicates)))
            trained = meta_train(family(pool, seeds), spaces.get("nasbench201"), seeds, settings)
            for name, found in asked.items():
                for c in range(searches):
                    own = [SEARCH_SEEDS + seed * searches + c for seed in seeds]
                    agent = trained.agent(range(len(seeds)), own)
                    found.append(search(agent, target(name).reward))
        # Chunks come search by search; rows of one meta-training are put together.
        return {name: _by_replicate(found, searches) for name, found in asked.items()}

    return run


def _by_replicate(found: list[Ints], searches: int) -> Ints:
    """Return [replicates, searches, queries] from chunks of [replicates of a chunk, queries]."""
    chunks = [np.stack(found[i : i + searches], axis=1) for i in range(0, len(found), searches)]
    joined: Ints = np.concatenate(chunks)
    return joined


def scratch(settings: CatchSettings) -> Callable[[int, int], dict[str, Ints]]:
    """Return CATCH-sfs: fresh parameters for every search."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        asked: dict[str, list[Ints]] = {name: [] for name in TARGETS}
        coding = Coding(spaces.get("nasbench201"), torch.float32)
        for name, found in asked.items():
            for start in range(0, replicates * searches, CHUNK):
                stop = min(start + CHUNK, replicates * searches)
                seeds = [SEARCH_SEEDS + s for s in range(start, stop)]
                catcher = Catcher(seeds, coding.features, settings)
                agent = Agent(catcher, coding, seeds, settings.epsilon)
                found.append(search(agent, target(name).reward))
        return {name: np.concatenate(found)[:, None] for name, found in asked.items()}

    return run


def baseline(name: str, **settings: Any) -> Callable[[int, int], dict[str, Ints]]:
    """Return a strategy without transfer, 500 searches whatever is asked for."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        space, seeds = spaces.get("nasbench201"), list(range(500))
        return {
            t: replicate(name, space, target(t).reward, seeds, QUERIES, **settings)[:, None]
            for t in TARGETS
        }

    return run


FULL = CatchSettings()
METHODS: dict[str, Callable[[int, int], dict[str, Ints]]] = {
    "random": baseline("random"),
    "regularized evolution 10/3": baseline("regularized-evolution", population=10, sample=3),
    "regularized evolution 10/10": baseline("regularized-evolution", population=10, sample=10),
    "local search": baseline("local-search"),
    "CATCH, pool D": meta("D", FULL),
    "CATCH-zero, pool D": meta("D", replace(FULL, context="zero")),
    "CATCH-sfs": scratch(FULL),
    "CATCH-random, pool D": meta("D", replace(FULL, context="random")),
    "CATCH, pool C500": meta("C500", FULL),
    "CATCH-zero, pool C500": meta("C500", replace(FULL, context="zero")),
    "CATCH without evaluator (M = 1), pool D": meta("D", replace(FULL, candidates=1)),
    "CATCH, uniform replay, pool D": meta("D", replace(FULL, replay="uniform")),
}


def judge(asked: Ints, at: Target) -> dict[str, Any]:
    """Return what is reported of searches [replicates, searches, queries] on one target."""
    report: dict[str, Any] = {}
    for by in ("mean", "seed888", "test"):
        for label, count in ((by, 1), (f"{by}_top3", 3)):
            hit = np.isin(asked, at.best(by, count))
            report[label] = interval(hit.any(axis=-1).astype(np.float64))
    hit = np.isin(asked, at.best("mean"))
    first = np.where(hit.any(axis=-1), hit.argmax(axis=-1) + 1, np.inf).ravel()
    quantiles = np.quantile(first, (0.1, 0.5, 0.9), method="inverted_cdf")
    report["queries_to_hit"] = [int(q) if np.isfinite(q) else None for q in quantiles]
    best = at.mean[asked].max(axis=-1)
    report["best_queried"] = [*interval(best), float(best.std())]
    chosen = np.take_along_axis(asked, at.reward[asked].argmax(axis=-1)[..., None], axis=-1)[..., 0]
    for by in ("mean", "seed888", "test"):
        values: Floats = getattr(at, by)
        report[f"selected_{by}"] = [*interval(values[chosen]), float(values[chosen].std())]
    curve = np.maximum.accumulate(at.reward[asked], axis=-1).mean(axis=(0, 1))
    report["reward_curve"] = [round(float(v), 3) for v in curve]
    return report


def interval(values: Floats, draws: int = 10_000) -> list[float]:
    """Return mean and 95 % interval of values [replicates, searches], replicates resampled."""
    means = values.mean(axis=1)
    rng = np.random.default_rng(0)
    rows = rng.integers(len(means), size=(draws, len(means)))
    low, high = np.quantile(means[rows].mean(axis=1), (0.025, 0.975))
    return [float(means.mean()), float(low), float(high)]


def main() -> None:
    """Run what the result file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--replicates", type=int, default=50, help="meta-trainings a method")
    parser.add_argument("--searches", type=int, default=10, help="searches a meta-training")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--quick", action="store_true", help="2 x 2 searches; writes nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.quick:
        given.replicates = given.searches = 2
    path = RESULTS / "catch.json"
    stored = json.loads(path.read_text())["rows"] if path.exists() and not given.quick else {}
    for name in given.methods:
        size = [given.replicates, given.searches]
        if stored.get(name, {}).get("asked_size") == size:
            continue
        begin, cpu = time.perf_counter(), time.process_time()
        asked = METHODS[name](*size)
        row = {
            "asked_size": size,
            "searches": int(np.prod(next(iter(asked.values())).shape[:2])),
            "meta_trainings": given.replicates if "pool" in name else 0,
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "seconds": round(time.perf_counter() - begin, 1),
            "targets": {t: judge(found, target(t)) for t, found in asked.items()},
        }
        hits = [round(500 * r["mean"][0]) for r in row["targets"].values()]
        print(f"{name}: hits of 500 {hits}, {row['cpu_seconds']} CPU s", flush=True)
        if not given.quick:
            stored = json.loads(path.read_text())["rows"] if path.exists() else {}
            stored[name] = row
            write_result("catch", {"queries": QUERIES, "rows": stored})
    if not given.quick:
        _catch_page.write(path, list(METHODS))


if __name__ == "__main__":
    main()
