"""Is Bayesian optimisation better than random search? Thirty paired seeds on three functions.

    python benchmarks/bayesian.py [--function NAME] [--seeds 30]

The same seed gives both searches the same random start. Each seed is kept in
benchmarks/results/bayesian.json as soon as it is there; a further call goes on from it.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from typing import Any

import numpy as np
import torch
from _bayesian_page import write_page
from _record import RESULTS, write_result
from scipy.stats import t

from transnas.spaces import Space
from transnas.strategies import create
from transnas.testing.functions import (
    SCORE,
    Branin,
    Function,
    Hartmann6,
    MixedToy,
    anytime,
    branin,
    hartmann6,
    mixed_toy,
)

FUNCTIONS: dict[str, tuple[Space, Function, int]] = {
    "branin": (Branin(), branin, 20),
    "hartmann6": (Hartmann6(), hartmann6, 30),
    "mixed-toy": (MixedToy(), mixed_toy, 20),
}


def paired(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the mean best values, and the mean difference with its 95% interval."""
    searched, drawn = (np.array([row[name] for row in rows]) for name in ("bo", "random"))
    difference = searched - drawn
    half = float(t.ppf(0.975, len(rows) - 1) * difference.std(ddof=1) / np.sqrt(len(rows)))
    middle = float(difference.mean())
    return {
        "seeds": len(rows),
        "bo": float(searched.mean()),
        "random": float(drawn.mean()),
        "difference": middle,
        "difference_95": [middle - half, middle + half],
        "ms_per_query": float(np.median([row["ms_per_query"] for row in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--function", choices=FUNCTIONS, nargs="*", default=list(FUNCTIONS))
    parser.add_argument("--seeds", type=int, default=30)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stored = RESULTS / "bayesian.json"
    rows = json.loads(stored.read_text())["rows"] if stored.exists() else {}
    for name in given.function:
        space, function, queries = FUNCTIONS[name]
        found = rows.setdefault(name, [])
        for seed in range(len(found), given.seeds):
            started = time.process_time()
            searched = anytime(create("bo", space, seed, SCORE), function, queries)[-1]
            spent = time.process_time() - started
            drawn = anytime(create("random", space, seed, SCORE), function, queries)[-1]
            found.append({"bo": searched, "random": drawn, "ms_per_query": 1e3 * spent / queries})
            if len(found) >= 2:
                summary = {n: paired(r) for n, r in rows.items() if len(r) >= 2}
                write_result("bayesian", {"queries": {n: f[2] for n, f in FUNCTIONS.items()},
                                          "summary": summary, "rows": rows})  # fmt: skip
                write_page()
        print(name, paired(found), flush=True)


if __name__ == "__main__":
    main()
