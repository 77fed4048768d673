"""SMAC3 beside the rows of benchmarks/blackbox.py, in an environment of its own.

    python -m venv smac && smac/bin/pip install smac
    TRANSNAS_DATA=... smac/bin/python benchmarks/smac3.py [--seeds 3] [--queries 150]

SMAC3's hyperparameter facade (random forest, expected improvement, its defaults) on NAS-Bench-201
as six categorical choices, asked and told one query at a time; needs no transnas there. Writes
benchmarks/results/smac3.json, which the page of benchmarks/blackbox.py shows.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SETS = ("c10", "c100", "in16")
POINTS = (10, 20, 50, 100, 150)


def search(rewards: dict[tuple[int, ...], float], seed: int, queries: int) -> tuple[list, float]:
    """Return the cells asked for, and the processor seconds of ask and tell."""
    from ConfigSpace import Categorical, ConfigurationSpace
    from smac import HyperparameterOptimizationFacade, Scenario
    from smac.runhistory.dataclasses import TrialValue

    space = ConfigurationSpace(seed=seed)
    space.add([Categorical(f"edge{i}", list(range(5))) for i in range(6)])
    asked: list[tuple[int, ...]] = []
    spent = 0.0
    with tempfile.TemporaryDirectory() as folder:
        scenario = Scenario(
            space, n_trials=queries, deterministic=True, seed=seed, output_directory=Path(folder)
        )
        facade = HyperparameterOptimizationFacade(
            scenario, lambda config, seed=0: 0.0, overwrite=True, logging_level=False
        )
        while len(asked) < queries:
            started = time.process_time()
            info = facade.ask()
            cell = tuple(int(info.config[f"edge{i}"]) for i in range(6))
            facade.tell(info, TrialValue(cost=-rewards[cell]))
            spent += time.process_time() - started
            asked.append(cell)
    return asked, spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--queries", type=int, default=150)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    data = Path(os.environ["TRANSNAS_DATA"]) / "nas" / "nasbench201.npz"
    table = np.load(data, allow_pickle=False)
    cells = [tuple(row) for row in table["ops"].tolist()]
    result: dict[str, object] = {
        "smac": version("smac"), "date": date.today().isoformat(), "queries": given.queries,
        "sets": {},
    }  # fmt: skip
    sets: dict[str, object] = {}
    for name in SETS:
        seen = dict(zip(cells, table[f"val12_{name}"].tolist(), strict=True))
        final = dict(zip(cells, np.nanmean(table[f"val_{name}"], axis=1).tolist(), strict=True))
        values = np.array(list(final.values()))
        best, middle = values.max(), np.median(values)
        regrets, spent = [], 0.0
        for seed in range(given.seeds):
            asked, seconds = search(seen, seed, given.queries)
            spent += seconds
            chosen = [max(asked[:p], key=seen.__getitem__) for p in POINTS if p <= given.queries]
            regrets.append([(best - final[cell]) / (best - middle) for cell in chosen])
        sets[name] = {"regret": regrets, "ms_per_query": 1e3 * spent / given.queries / given.seeds}
        print(name, np.mean(regrets, axis=0), sets[name]["ms_per_query"], flush=True)  # type: ignore[index]
        result["sets"] = sets
        (ROOT / "benchmarks" / "results" / "smac3.json").write_text(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
