"""Small searches of the residual space on real data: segmentation, detection, classification.

    TRANSNAS_DATA=... python benchmarks/residual.py [--seeds 3] [--trials 5]

Really trains every network, on few and small images so that a CPU does. Writes
benchmarks/results/residual.json after each search; stopped, it goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from typing import Any

from _record import RESULTS, write_result
from _residual_page import write_page

import transnas as tn

TASKS = (("camvid:size=80,limit=40", 3), ("bccd:size=96,limit=32", 3), ("cifar10:limit=60", 2))
"""Tasks with their epochs a trial."""
METHODS: dict[str, dict[str, Any]] = {
    "random": {},
    "regularized-evolution": {"population": 3, "sample": 2},
}


def earlier(trials: int) -> list[dict[str, Any]]:
    """Return the rows of a run that was stopped."""
    path = RESULTS / "residual.json"
    if not path.is_file():
        return []
    found = json.loads(path.read_text())
    return list(found["rows"]) if found["trials"] == trials else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=5)
    given = parser.parse_args()
    rows = earlier(given.trials)
    done = {(row["task"], row["method"], row["seed"]) for row in rows}
    for seed in range(given.seeds):
        for task, epochs in TASKS:
            for method, settings in METHODS.items():
                if (task, method, seed) in done:
                    continue
                began = time.process_time()
                study = tn.search(
                    task,
                    "residual-small",
                    method,
                    given.trials,
                    epochs=epochs,
                    seed=seed,
                    settings=settings,
                    storage="memory://",
                    name=f"{task}-{method}-{seed}",
                )
                assert study.best is not None
                metric = study.objectives[0].metric
                row = {
                    "task": task,
                    "method": method,
                    "seed": seed,
                    "epochs": epochs,
                    "metric": metric,
                    "values": study.rewards().tolist(),
                    "best": study.space.to_text(study.best.architecture),
                    "metrics": dict(study.best.metrics),
                    "cpu_seconds": time.process_time() - began,
                }
                rows.append(row)
                print(task, method, seed, max(row["values"]), row["cpu_seconds"], flush=True)
                write_page(write_result("residual", {"trials": given.trials, "rows": rows}))


if __name__ == "__main__":
    main()
