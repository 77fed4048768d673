"""How `architecture-bo` should weigh what it does not know: chosen here, and looked at there.

    python benchmarks/architecture_bo.py choose    # TransNAS-Bench-101, rewards with noise
    python benchmarks/architecture_bo.py hits      # NAS-Bench-201, 500 seeds, 50 queries

`choose` searches each of the seven micro tasks with normal noise on the rewards, as 12 epochs are a
noisy view of 200: its deviation is a multiple of that of the best twentieth of the rewards. What
counts is how many of the truly best twenty of 4,096 cells are among 50 queries. `hits` counts the
seeds that try the cell that is best after 200 epochs, where a search sees 12; its settings are the
defaults, and each half of them alone. Adds to benchmarks/results/architecture-bo.json, which the
page of blackbox.py shows.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from _record import RESULTS, write_result
from blackbox import Column, columns

from transnas import spaces, strategies, tasks
from transnas.evaluation.table import Table

Floats = npt.NDArray[np.float64]
SPACE = spaces.get("transnas101-micro")
QUERIES, SEEDS = 50, 500
NOISES, DRAWS, SEARCHES, BEST = (0.7, 2.0), 60, 2, 20
SHARES = (1.0, 0.6, 0.4, 0.3)
SEEN = {"fixed 1.0": ("fixed", 1.0), "marginal 1.0": ("marginal", 1.0),
        "fixed 0.4": ("fixed", 0.4), "marginal 0.4": ("marginal", 0.4)}  # fmt: skip
"""What is looked at on NAS-Bench-201; the last is what was chosen."""


def noisy(rewards: Floats, noise: float, draw: int) -> Floats:
    """Return rewards as a short training might show them."""
    best = rewards[rewards >= np.quantile(rewards, 0.95)]
    drawn: Floats = np.random.default_rng([draw, 5]).standard_normal(len(rewards))
    return rewards + noise * best.std() * drawn


def choose() -> dict[str, Any]:
    """Return how many of the best cells each setting finds, and how often the best one."""
    names = [n for n in tasks.names() if n.startswith("transnas101-micro/")]
    if not names:
        sys.exit("choose needs the tables of TransNAS-Bench-101 micro in the folder TRANSNAS_DATA")
    tables = [Table(tasks.get(n)).rewards() for n in names]  # type: ignore[arg-type]
    found: dict[str, Any] = {}
    for noise in NOISES:
        for hyperparameters in ("fixed", "marginal"):
            for share in SHARES:
                counts, firsts = [], []
                for table in tables:
                    best = np.argsort(-table)[:BEST]
                    for draw in range(DRAWS):
                        seeds = range(draw * SEARCHES, (draw + 1) * SEARCHES)
                        asked = strategies.replicate(
                            "architecture-bo", SPACE, noisy(table, noise, draw), seeds, QUERIES,
                            hyperparameters=hyperparameters, deviation=share,
                        )  # fmt: skip
                        counts += np.isin(asked, best).sum(axis=1).tolist()
                        firsts += (asked == best[0]).any(axis=1).tolist()
                half = 1.96 * np.std(counts) / np.sqrt(len(counts))
                key = f"{noise} {hyperparameters} {share}"
                found[key] = {"found": float(np.mean(counts)), "half": float(half),
                              "best": float(np.mean(firsts)), "searches": len(counts)}  # fmt: skip
                print(key, found[key], flush=True)
    return found


def hits(column: Column, hyperparameters: str, share: float) -> dict[str, Any]:
    """Return how many seeds try the 200-epoch optimum of a data set of NAS-Bench-201.

    Also how good that cell looks after 12 epochs, and how many of the seeds that miss it have
    tried the cell that looks best.
    """
    started = time.process_time()
    asked = strategies.replicate(
        "architecture-bo", column.space, column.rewards, range(SEEDS), QUERIES,
        hyperparameters=hyperparameters, deviation=share,
    )  # fmt: skip
    spent = time.process_time() - started
    best = int(np.nanargmax(column.final))
    hit = (asked == best).any(axis=1)
    classes = {column.space.canonical(a) for a in column.space.architectures()}
    seen = np.array([column.rewards[column.space.index(a)] for a in classes])
    at_top = (column.rewards[asked] == seen.max()).any(axis=1)
    return {
        "hits": int(hit.sum()),
        "rank_after_12_epochs": 1 + int((seen > column.rewards[best]).sum()),
        "misses_that_tried_the_best_after_12_epochs": int((at_top & ~hit).sum()),
        "ms_per_query": 1e3 * spent / asked.size,
    }


def main() -> None:
    """Run one part, and keep the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("choose", "hits"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "architecture-bo.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    kept.pop("machine", None)
    if given.what == "choose":
        kept["chosen_on_transnas"] = choose()
        write_result("architecture-bo", kept)
        return
    three = columns()[:3]
    for name, (hyperparameters, share) in SEEN.items():
        found = {column.name: hits(column, hyperparameters, share) for column in three}
        print(name, [f["hits"] for f in found.values()], flush=True)
        kept.setdefault("hits", {})[name] = found
        write_result("architecture-bo", kept)


if __name__ == "__main__":
    main()
