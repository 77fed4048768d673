"""Every strategy of the project on eleven tables: regret by query, ranking, seconds of its own.

    TRANSNAS_DATA=... python benchmarks/blackbox.py [--seconds 2] [--quick] [--more] [--only NAME]

A strategy and a table get as many of 100 seeds as `--seconds` of processor time allow (an eighth
of that outside NAS-Bench-201), at least two. `bo`, `optuna-gp` and plain BoTorch stop at 50
queries; one whose single run takes more than five seconds is run on three tables only, one of each
benchmark. Strategies are those of the registry, so a new one appears by itself.
Those that ask with budgets are left out: their queries are not of one kind. `--only` runs these
strategies and keeps the rows that are there of the others; with `--more` their seeds go on from
those that are there. Writes benchmarks/results/blackbox.json, docs/results/blackbox.md and its
figure.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from _blackbox_page import write_page
from _record import RESULTS, write_result

from transnas import InputError, spaces, strategies, tasks
from transnas.evaluation import Objective
from transnas.evaluation.table import Table
from transnas.spaces import Space
from transnas.strategies._replicates import one_replicate

Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

QUERIES, MOST_SEEDS = 150, 100
POINTS = (1, 2, 5, 10, 20, 30, 50, 75, 100, 125, 150)
LAST = ("optuna-gp", "bo")
"""Strategies that fit a process again at every query: `DEAR_QUERIES`."""
PLAIN = "plain-botorch"
"""BoTorch used as its tutorial does, on one table."""
PLAIN_SEEDS, DEAR_QUERIES = 5, 50
SLOW = 5.0
"""Seconds of one run above which a strategy is run on `few` tables only."""


@dataclass(frozen=True)
class Column:
    """A table: what a search sees, what it is judged by, and the space."""

    name: str
    space: Space
    rewards: Doubles
    final: Doubles

    def regret(self, asked: Indices) -> Doubles:
        """Return the regret of the best by reward after each query, [seeds, queries].

        In units of the distance from the table's median to its best. -1 repeats what was before.
        """
        best, middle = np.nanmax(self.final), np.nanmedian(self.final)
        rewards = np.where(np.isnan(self.rewards), -np.inf, self.rewards)
        seen = np.where(asked >= 0, rewards[asked], -np.inf)
        leading = np.maximum.accumulate(seen, axis=1)
        first = np.where(seen == leading, np.arange(asked.shape[1]), 0)
        chosen = np.maximum.accumulate(first, axis=1)
        at = np.take_along_axis(asked, chosen, axis=1)
        found: Doubles = (best - self.final[at]) / (best - middle)
        return found


def columns() -> list[Column]:
    """Return the tables, one of each benchmark first."""
    found = []
    for name in ("cifar10", "cifar100", "imagenet16-120"):
        table = Table(tasks.get(f"nasbench201/{name}"))
        seen = table.rewards("validation_accuracy", 12)
        final = table.rewards("validation_accuracy", 200)
        found.append(Column(f"NAS-Bench-201 {name}", spaces.get("nasbench201"), seen, final))
    micro = [n for n in tasks.names() if n.startswith("transnas101-micro/")]
    for name in [*micro, "nasbench-macro/cifar10"]:
        values = Table(tasks.get(name)).rewards()
        space = spaces.get(name.partition("/")[0])
        label = name.replace("transnas101-micro/", "TransNAS micro ").replace("/", " ")
        found.append(Column(label, space, values, values))
    return found


def few(found: list[Column]) -> list[Column]:
    """Return one table of each benchmark."""
    first: dict[str, Column] = {}
    for column in found:
        first.setdefault(column.space.name, column)
    return list(first.values())


def run(name: str, column: Column, limit: float, queries: int, first: int) -> tuple[Indices, float]:
    """Return what as many seeds from `first` on as fit into `limit` seconds asked, and seconds."""
    one_replicate(name, column.space, column.rewards, 0, 4)  # what is made once a space
    started = time.process_time()
    alone = one_replicate(name, column.space, column.rewards, first, queries)
    single = time.process_time() - started
    more = int(np.clip(limit / max(single, 1e-4), 1, max(1, MOST_SEEDS - first - 1)))
    started = time.process_time()
    seeds = range(first + 1, first + 1 + more)
    asked = strategies.replicate(name, column.space, column.rewards, seeds, queries)
    return np.vstack([alone, asked]), (time.process_time() - started) / more


def judge(
    column: Column, asked: Indices, seconds: float, earlier: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return the regret at `POINTS` with the half width of its 95% interval.

    `earlier` is what this returned for other seeds, which are counted too.
    """
    from scipy.stats import t

    regret = column.regret(asked)[:, [p - 1 for p in POINTS if p <= asked.shape[1]]]
    n, mean = len(regret), regret.mean(axis=0)
    squares = ((regret - mean) ** 2).sum(axis=0)
    ms = 1e3 * seconds / asked.shape[1]
    if earlier is not None:
        m, before = earlier["seeds"], np.array(earlier["regret"])
        spread = np.array(earlier["half_width"]) * np.sqrt(m) / t.ppf(0.975, m - 1)
        squares += spread**2 * (m - 1) + (mean - before) ** 2 * n * m / (n + m)
        mean = (n * mean + m * before) / (n + m)
        ms = (n * ms + m * earlier["ms_per_query"]) / (n + m)
        n += m
    half = t.ppf(0.975, n - 1) * np.sqrt(squares / (n - 1) / n)
    return {"seeds": n, "regret": mean.tolist(), "half_width": half.tolist(), "ms_per_query": ms}


def refusal(name: str) -> str | None:
    """Return why strategy `name` is not in this benchmark; None if it is."""
    try:
        strategy = strategies.create(name, spaces.get("nasbench201"), 0, (Objective("reward"),))
    except InputError as error:
        return str(error)
    if strategy.full_budget is not None:
        return "asks with budgets; its queries are not of one kind"
    return None


def plain_botorch(column: Column, queries: int, seed: int) -> tuple[list[int], float]:
    """Run BoTorch as its tutorial does: one-hot codes, all of them scored; asks are timed."""
    import torch
    from botorch.acquisition import LogExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from gpytorch.mlls import ExactMarginalLogLikelihood

    archs = list(column.space.architectures())
    rows = torch.from_numpy(column.space.encode(archs)).double()
    rng = np.random.default_rng(seed)
    asked = rng.choice(len(archs), 10, replace=False).tolist()
    spent = []
    while len(asked) < queries:
        started = time.process_time()
        y = torch.from_numpy(column.rewards[asked])[:, None]
        model = SingleTaskGP(rows[asked], (y - y.mean()) / y.std())
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        worth = LogExpectedImprovement(model, best_f=((y - y.mean()) / y.std()).max())
        with torch.no_grad():
            values = torch.cat([worth(block[:, None]) for block in rows.split(2048)])
        values[asked] = -torch.inf
        asked.append(int(values.argmax()))
        spent.append(time.process_time() - started)
    return asked, float(np.mean(spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="a strategy and table")
    parser.add_argument("--quick", action="store_true", help="20 queries, to see that it runs")
    parser.add_argument("--more", action="store_true", help="further seeds of these strategies")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    given = parser.parse_args()
    queries = 20 if given.quick else QUERIES
    warnings.simplefilter("ignore")
    found = columns()
    rows: dict[str, dict[str, Any]] = {}
    refused: dict[str, str] = {}
    stored = RESULTS / "blackbox.json"
    if given.only and stored.exists():
        earlier = json.loads(stored.read_text())
        rows, refused = earlier["rows"], earlier["refused"]

    def record() -> None:
        """Write what there is, so that an interrupted run leaves its rows."""
        left = {name: reason for name, reason in refused.items() if name not in rows}
        result = {"queries": queries, "points": [p for p in POINTS if p <= queries],
                  "seconds_allowed": given.seconds, "tables": [c.name for c in found],
                  "rows": rows, "refused": left}  # fmt: skip
        path = write_result("blackbox-quick" if given.quick else "blackbox", result)
        if not given.quick:
            write_page(path)

    # The slow ones last: an interrupted run then lacks only them.
    for name in sorted(strategies.names(), key=lambda n: n in LAST):
        if given.only and name not in given.only:
            continue
        reason = refusal(name)
        if reason is not None:
            refused[name] = reason
            continue
        known = rows.pop(name, {}) if given.more else {}
        row: dict[str, Any] = {}
        todo = list(found)
        while todo:
            column = todo.pop(0)
            earlier = known.get(column.name)
            first = earlier["seeds"] if earlier else 0
            if first >= MOST_SEEDS:
                row[column.name] = earlier
                continue
            share = 1.0 if "201" in column.name else 0.125
            most = min(queries, DEAR_QUERIES) if name in LAST else queries
            asked, seconds = run(name, column, share * given.seconds, most, first)
            row[column.name] = judge(column, asked, seconds, earlier)
            if seconds > SLOW:
                todo = [c for c in few(found) if c.name not in row]
        rows[name] = row
        print(f"{name:24s} {len(rows[name])} tables", flush=True)
        record()
    if given.only and PLAIN not in given.only:
        return
    runs = [plain_botorch(found[0], min(queries, DEAR_QUERIES), s) for s in range(PLAIN_SEEDS)]
    asked = np.array([indices for indices, _ in runs])
    a_query = float(np.mean([seconds for _, seconds in runs]))
    rows[PLAIN] = {found[0].name: judge(found[0], asked, a_query * asked.shape[1])}
    record()


if __name__ == "__main__":
    main()
