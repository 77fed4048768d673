"""How much do earlier studies help? Searches of NAS-Bench-201, replicated over seeds.

    TRANSNAS_DATA=... python benchmarks/learning_from_studies.py [--seeds 500] [--quick]

Writes benchmarks/results/learning-from-studies.json and docs/results/learning-from-studies.md.
Takes about ten minutes on one core with 500 seeds.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from _learning_page import write_page
from _record import write_result

from transnas import spaces, strategies
from transnas._data import data_folder
from transnas.meta.store import SourceTask, StorePrior, learn, replicate_transfer, source_values
from transnas.spaces import Architecture
from transnas.strategies.bayesian import listed

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

SPACE = spaces.get("nasbench201")
TARGETS = ("c10", "c100", "in16")
QUERIES = 50


class Tables:
    """The measurements: what the searches see (12 epochs), and what decides (200 epochs)."""

    def __init__(self) -> None:
        folder = data_folder() / "nas"
        with np.load(folder / "nasbench201.npz") as table:
            self.rewards = {t: table[f"val12_{t}"].astype(np.float64) for t in TARGETS}
            self.final = {
                t: np.nanmean(table[f"val_{t}"].astype(np.float64), axis=1) for t in TARGETS
            }
        with np.load(folder / "transnas101.npz") as table:
            self.tasks = [str(name) for name in table["tasks"]]
            self.cells = [SPACE.architecture(codes) for codes in table["micro_ops"]]
            self.values = table["micro_val"].astype(np.float64)
        with np.load(folder / "metad2a_nb201_tasks.npz") as table:
            self.subset_cells = [SPACE.at(int(i)) for i in table["arch_index"]]
            self.subset_values = table["acc"].astype(np.float64)


Relabel = Callable[[SourceTask, np.random.Generator], SourceTask]


def as_measured(source: SourceTask, rng: np.random.Generator) -> SourceTask:
    return source


def reversed_ranks(source: SourceTask, rng: np.random.Generator) -> SourceTask:
    return SourceTask(source.name, source.architectures, -np.asarray(source.rewards))


def permuted(source: SourceTask, rng: np.random.Generator) -> SourceTask:
    return SourceTask(source.name, source.architectures, rng.permutation(source.rewards))


def micro_pool(tables: Tables, cells: int) -> Callable[[np.random.Generator], list[SourceTask]]:
    """Return a draw of the 7 TransNAS tasks with `cells` random cells each."""

    def draw(rng: np.random.Generator) -> list[SourceTask]:
        found = []
        for j, name in enumerate(tables.tasks):
            rows = rng.choice(len(tables.cells), cells, replace=False)
            archs: list[Architecture] = [tables.cells[i] for i in rows.tolist()]
            found.append(SourceTask(name, archs, tables.values[rows, j]))
        return found

    return draw


def subset_pool(tables: Tables, rows: int) -> Callable[[np.random.Generator], list[SourceTask]]:
    """Return a draw of `rows` rows of the ImageNet-subset tasks, as one source.

    The unit is the same (accuracy of 20-way classification) and most tasks have a single row.
    """

    def draw(rng: np.random.Generator) -> list[SourceTask]:
        chosen = rng.choice(len(tables.subset_cells), rows, replace=False)
        archs = [tables.subset_cells[i] for i in chosen.tolist()]
        return [SourceTask("ImageNet subsets", archs, tables.subset_values[chosen])]

    return draw


def priors(
    draw: Callable[[np.random.Generator], list[SourceTask]], seeds: int, relabel: Relabel
) -> list[StorePrior]:
    """Return one prior a seed, from a pool redrawn for it."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng([201, seed])
        found.append(learn([relabel(source, rng) for source in draw(rng)], SPACE))
    return found


def judge(tables: Tables, target: str, asked: Indices, seconds: float) -> dict[str, Any]:
    """Return hits and qualities of `asked` [seeds, queries]."""
    final, rewards = tables.final[target], tables.rewards[target]
    hit = asked == int(final.argmax())
    at = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, np.inf)
    best = np.maximum.accumulate(final[asked], axis=1)[:, -1]
    selected = final[asked[np.arange(len(asked)), rewards[asked].argmax(axis=1)]]
    n, hits = len(asked), int(hit.any(axis=1).sum())
    low, high = wilson(hits, n)
    ranked = np.sort(at)
    percentiles = [ranked[max(int(np.ceil(q * n)) - 1, 0)] for q in (0.1, 0.5, 0.9)]
    return {
        "seeds": n,
        "hits": hits,
        "hits_95": [low, high],
        "queries_to_hit_10_50_90": [int(q) if np.isfinite(q) else None for q in percentiles],
        "best_queried": [float(best.mean()), float(best.std())],
        "selected_by_reward": [float(selected.mean()), float(selected.std())],
        "ms_per_query": 1e3 * seconds / asked.size,
    }


def wilson(hits: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return Wilson's 95% interval of a proportion."""
    p, w = hits / n, z * z / n
    middle, half = p + w / 2, z * np.sqrt(p * (1 - p) / n + w / (4 * n))
    return float((middle - half) / (1 + w)), float((middle + half) / (1 + w))


def timed(run: Callable[[], Indices]) -> tuple[Indices, float]:
    """Return the queries and the processor seconds they took (one thread)."""
    started = time.process_time()
    asked = run()
    return asked, time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="20 seeds, to see that it runs")
    given = parser.parse_args()
    seeds = 20 if given.quick else given.seeds
    tables = Tables()
    listed(SPACE)
    preparation = time.process_time()
    rows: list[dict[str, Any]] = []

    def add(method: str, pool: str, run: Callable[[str], Indices], learning: float = 0.0) -> None:
        row: dict[str, Any] = {"method": method, "pool": pool, "learning_ms_per_seed": learning}
        for target in TARGETS:
            asked, seconds = timed(lambda target=target: run(target))  # type: ignore[misc]
            row[target] = judge(tables, target, asked, seconds)
        rows.append(row)
        hits = " / ".join(f"{row[t]['hits']} of {row[t]['seeds']}" for t in TARGETS)
        print(f"{method:34s} {pool:16s} {hits}", flush=True)

    def baseline(label: str, name: str, n: int = seeds, **settings: Any) -> None:
        def run(target: str) -> Indices:
            table = tables.rewards[target]
            return strategies.replicate(name, SPACE, table, range(n), QUERIES, **settings)

        add(label, "none", run)

    baseline("random", "random")
    for sample in (3, 5, 10):
        label = f"regularized evolution 10/{sample}"
        baseline(label, "regularized-evolution", population=10, sample=sample)
    baseline("local search", "local-search")
    for rate in (0.001, 0.1):
        baseline(f"REINFORCE, learning rate {rate}", "reinforce", learning_rate=rate)
    baseline("TPE (Optuna)", "tpe", n=min(seeds, 100))
    baseline("Gaussian process from scratch", "store-transfer")

    def transfer(pool: str, found: list[StorePrior], learning: float) -> None:
        def run(target: str) -> Indices:
            table = tables.rewards[target]
            return replicate_transfer(SPACE, table, range(len(found)), QUERIES, found)

        add("learning from earlier studies", pool, run, learning)

    def fixed_order(pool: str, found: list[StorePrior]) -> None:
        index = np.array([SPACE.index(arch) for arch in listed(SPACE).archs])
        scores = [source_values(listed(SPACE), prior.sources).mean(axis=0) for prior in found]
        order = np.array([index[np.argsort(-s, kind="stable")[:QUERIES]] for s in scores])
        add("rank transfer in fixed order", pool, lambda _: order)

    pools = {
        "D71": micro_pool(tables, 71),
        "D100": micro_pool(tables, 100),
        "C500": subset_pool(tables, 500),
    }
    for pool, draw in pools.items():
        began = time.process_time()
        found = priors(draw, seeds, as_measured)
        learning = 1e3 * (time.process_time() - began) / seeds
        fixed_order(pool, found)
        transfer(pool, found, learning)
    for pool in ("D71", "C500"):
        transfer(f"{pool}, permuted", priors(pools[pool], seeds, permuted), 0.0)
        transfer(f"{pool}, reversed", priors(pools[pool], seeds, reversed_ranks), 0.0)

    everything = [SPACE.at(i) for i in range(SPACE.size)]
    sisters = {
        t: learn([SourceTask(o, everything, tables.rewards[o]) for o in TARGETS if o != t], SPACE)
        for t in TARGETS
    }
    add(
        "learning from earlier studies",
        "LOO (sanity check)",
        lambda t: replicate_transfer(
            SPACE, tables.rewards[t], range(20), QUERIES, [sisters[t]] * 20
        ),
    )
    result = {
        "queries": QUERIES,
        "cpu_seconds": time.process_time(),
        "preparation_cpu_seconds": preparation,
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "rows": rows,
    }
    name = "learning-from-studies-quick" if given.quick else "learning-from-studies"
    path = write_result(name, result)
    if not given.quick:
        write_page(path)


if __name__ == "__main__":
    main()
