"""How long strategies think: 500 replicates x 50 queries at once, and one ask + tell.

    python benchmarks/strategies.py            # about a minute; needs no data beyond the package
    python benchmarks/strategies.py --quick    # fewer repetitions, to see that it runs

Rewards are the embedded NAS-Bench-201 table (CIFAR-10, 200 epochs), looked up outside of the
clock. Times are the median of several runs in this process with one thread; `first_seconds`
includes the tables that are made once a space. Writes benchmarks/results/strategies.json; exits
with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import numpy.typing as npt
from _record import write_result

from transnas import spaces, strategies, tasks
from transnas.evaluation import Measurement, Objective
from transnas.evaluation.table import Table

SEEDS, QUERIES = range(500), 50

REPLICATED: list[tuple[str, dict[str, Any], float]] = [
    # strategy, settings, most seconds
    ("random", {}, 0.1),
    ("regularized-evolution", {"population": 10, "sample": 3}, 0.1),
    ("regularized-evolution", {"population": 10, "sample": 10}, 0.1),
    ("non-aging-evolution", {"population": 10, "sample": 10}, 0.1),
    ("local-search", {}, 1.0),
    ("reinforce", {}, 30.0),
]
SEQUENTIAL: dict[str, float | None] = {
    # strategy: most milliseconds for an ask and a tell
    "random": None,
    "regularized-evolution": 0.02,
    "non-aging-evolution": 0.02,
    "local-search": None,
    "local-search-best": None,
    "reinforce": None,
    "grid": None,
    "sobol": None,
    "optuna-random": None,
    "nsga2": None,
    "tpe": None,
    "predictor": 50.0,
}
SLOW = ("nsga2", "tpe", "optuna-random", "predictor")
"""Timed over 2 runs a repetition in place of 20."""


def median(run: Callable[[], object], repetitions: int) -> dict[str, float]:
    """Return the seconds of the first run, and the median and worst of the others."""
    times = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    later = times[1:]
    return {
        "first_seconds": times[0],
        "seconds": statistics.median(later),
        "worst_seconds": max(later),
    }


def replicated(rewards: npt.NDArray[np.float64], repetitions: int) -> list[dict[str, Any]]:
    """Time 500 replicates of 50 queries of each strategy that has a vectorised version."""
    space, rows = spaces.get("nasbench201"), []
    best = int(np.nanargmax(rewards))
    for name, settings, most in REPLICATED:

        def run(name: str = name, settings: dict[str, Any] = settings) -> npt.NDArray[np.int64]:
            return strategies.replicate(name, space, rewards, SEEDS, QUERIES, **settings)

        hits = int((run() == best).any(axis=1).sum())
        times = median(run, repetitions)
        rows.append({"strategy": name, **settings, **times, "target_seconds": most, "hits": hits})
        print(f"{name:24} {settings!s:36} {times['seconds']:8.4f} s   (target {most} s)")
    return rows


def sequential(rewards: npt.NDArray[np.float64], repetitions: int) -> list[dict[str, Any]]:
    """Time one ask + tell of each strategy over runs of 50 queries, several runs a repetition."""
    space, rows = spaces.get("nasbench201"), []
    measured = [Measurement({"score": float(r)}) for r in rewards]
    for name, most in SEQUENTIAL.items():
        runs = 2 if name in SLOW else 20
        spent = 0.0

        def play(name: str = name, runs: int = runs) -> None:
            nonlocal spent
            spent = 0.0
            for seed in range(runs):
                strategy = strategies.create(name, space, seed, (Objective("score"),))
                for _ in range(QUERIES):
                    start = time.perf_counter()
                    arch = strategy.ask()
                    asked = time.perf_counter()
                    told = measured[space.index(arch)]
                    restart = time.perf_counter()
                    strategy.tell(arch, told)
                    spent += asked - start + time.perf_counter() - restart

        each = []
        for _ in range(repetitions + 1):
            play()
            each.append(1000 * spent / runs / QUERIES)
        milliseconds = statistics.median(each[1:])
        rows.append({"strategy": name, "milliseconds": milliseconds, "target_milliseconds": most})
        print(f"{name:24} ask + tell {milliseconds:10.4f} ms   (target {most or '-'})")
    return rows


def main() -> int:
    """Run both tables and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    rewards = Table(tasks.get("nasbench201/cifar10")).rewards()
    rows = replicated(rewards, 3 if quick else 15)
    steps = sequential(rewards, 2 if quick else 7)
    missed = [r for r in rows if r["seconds"] > r["target_seconds"]]
    missed += [
        r
        for r in steps
        if r["target_milliseconds"] and r["milliseconds"] > r["target_milliseconds"]
    ]
    if not quick:
        path = write_result(
            "strategies",
            {"seeds": len(SEEDS), "queries": QUERIES, "replicated": rows, "ask_tell": steps},
        )
        print(f"written: {path.name}")
    for row in missed:
        print(f"missed: {row}", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
