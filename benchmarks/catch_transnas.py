"""CATCH on TransNAS-Bench-101: each of the 7 tasks once left out and searched.

    TRANSNAS_DATA=... python benchmarks/catch_transnas.py                  # all rows, 56 searches
    TRANSNAS_DATA=... python benchmarks/catch_transnas.py --methods random "catch, kl 0.01"

The six other tasks are what is learnt from, 25 x 20 queries for CATCH and 71 cells a task for
the store model and catch+. The table has one seed and one budget, so the reward searched by is
also what is judged: how many of the best 1, 10 and 30 cells of 4,096 are among 50 queries. This
is also where settings of the NAS-Bench-201 experiment are chosen; its targets are not read.
Rows that the result file already has with the same number of searches are kept. Writes
benchmarks/results/catch-transnas.json and docs/results/catch-transnas.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import _catch_transnas_page
import numpy as np
import numpy.typing as npt
import torch
from _record import RESULTS, write_result

from transnas import spaces, strategies, tasks
from transnas.evaluation.table import Table
from transnas.meta.catch import CatchSettings, TableFamily, meta_train
from transnas.meta.catch.agent import Agent, run_task
from transnas.meta.catch.catcher import Catcher
from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.families import Evaluate, turn
from transnas.meta.catch.plus import CatchPlusSettings, replicate_plus
from transnas.meta.catch.plus.latent import Latent
from transnas.meta.catch.plus.prior import latents_of
from transnas.meta.store import SourceTask, StorePrior, learn, replicate_transfer

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SPACE = spaces.get("transnas101-micro")
NAMES = tuple(n for n in tasks.names() if n.startswith("transnas101-micro/"))
QUERIES = 50
CELLS = 71
CHUNK = 56
"""Replicates run together."""


@cache
def table() -> Floats:
    """Return the rewards of all tasks, [7, 4096]."""
    return np.stack([Table(tasks.get(n)).rewards() for n in NAMES])  # type: ignore[arg-type]


@cache
def index_of() -> Ints:
    """Return the index of every code sequence, [4, 4, 4, 4, 4, 4]."""
    found = np.zeros((4,) * 6, dtype=np.int64)
    for i, arch in enumerate(SPACE.architectures()):
        found[arch.values] = i
    return found


class Others(TableFamily):
    """For replicate `seed` the tasks but number seed % 7, which it will search."""

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        own = [s % len(NAMES) for s in seeds]
        drawn = [turn(s, epoch, len(NAMES) - 1) for s in seeds]
        chosen = [d + (d >= o) for d, o in zip(drawn, own, strict=True)]
        return lambda codes: self.rewards[chosen, index_of()[tuple(codes.T)]]


def search(agent: Agent, held: list[int]) -> Ints:
    """Return what agents asked for on the tasks `held`, [R, queries]."""

    def evaluate(codes: Codes) -> Floats:
        found: Floats = table()[held, index_of()[tuple(codes.T)]]
        return found

    asked = run_task(agent, evaluate, QUERIES)
    found: Ints = index_of()[tuple(np.moveaxis(asked, -1, 0))]
    return found


def catch(settings: CatchSettings, scratch: bool = False) -> Callable[[list[int]], Ints]:
    """Return CATCH with these settings; `scratch`: without meta-training."""

    def run(seeds: list[int]) -> Ints:
        own = [1_000_000 + s for s in seeds]
        if scratch:
            coding = Coding(SPACE, torch.float32, isomorphs=settings.isomorphs)
            catcher = Catcher(own, coding.features, settings)
            agent = Agent(catcher, coding, own, settings.epsilon)
        else:
            family = Others(SPACE, table(), NAMES)
            trained = meta_train(family, SPACE, seeds, settings)
            agent = trained.agent(range(len(seeds)), own)
        return search(agent, [s % len(NAMES) for s in seeds])

    return run


def baseline(name: str, **settings: Any) -> Callable[[list[int]], Ints]:
    """Return a strategy that learns nothing from other tasks."""

    def run(seeds: list[int]) -> Ints:
        found = np.zeros((len(seeds), QUERIES), dtype=np.int64)
        for task in range(len(NAMES)):
            rows = [i for i, s in enumerate(seeds) if s % len(NAMES) == task]
            own = [seeds[i] for i in rows]
            found[rows] = strategies.replicate(name, SPACE, table()[task], own, QUERIES, **settings)
        return found

    return run


def sources(seed: int) -> list[SourceTask]:
    """Return the tasks but number seed % 7 with 71 random cells each."""
    rng = np.random.default_rng([101, seed])
    found = []
    for j, name in enumerate(NAMES):
        rows = rng.choice(SPACE.size, CELLS, replace=False)
        if j != seed % len(NAMES):
            found.append(SourceTask(name, [SPACE.at(int(i)) for i in rows], table()[j, rows]))
    return found


def store(seeds: list[int]) -> Ints:
    """The store model: learning from earlier studies."""
    priors: list[StorePrior] = [learn(sources(s), SPACE) for s in seeds]
    rows = [
        replicate_transfer(SPACE, table()[s % len(NAMES)], [s], QUERIES, [prior])
        for s, prior in zip(seeds, priors, strict=True)
    ]
    return np.concatenate(rows)


@cache
def learnt(seed: int) -> tuple[StorePrior, Latent | None]:
    """Return what catch+ learns for one seed; every row of catch+ takes the same."""
    prior = learn(sources(seed), SPACE)
    return prior, latents_of([prior], [seed])[0]


def plus(settings: CatchPlusSettings) -> Callable[[list[int]], Ints]:
    """Return catch+ with these settings."""

    def run(seeds: list[int]) -> Ints:
        rows = []
        for seed in seeds:
            (prior, latent), reward = learnt(seed), table()[seed % len(NAMES)]
            rows.append(replicate_plus(SPACE, reward, [seed], QUERIES, [prior], [latent], settings))
        return np.concatenate(rows)

    return run


BASE = CatchSettings()
PLUS = CatchPlusSettings()
METHODS: dict[str, Callable[[list[int]], Ints]] = {
    "random": baseline("random"),
    "regularized evolution 10/10": baseline("regularized-evolution", population=10, sample=10),
    "local search": baseline("local-search"),
    "Gaussian process from scratch": baseline("store-transfer"),
    "learning from earlier studies": store,
    "catch+": plus(PLUS),
    "catch+ without latent features": plus(replace(PLUS, latent_share=0.0)),
    "catch+ without learnt means": plus(replace(PLUS, learnt_mean=False)),
    "catch+ without ensemble": plus(replace(PLUS, ensemble=False)),
    "catch": catch(BASE),
    "catch, from scratch": catch(BASE, scratch=True),
    "catch, z = 0": catch(replace(BASE, context="zero")),
    "catch, random z": catch(replace(BASE, context="random")),
    "catch, uniform replay": catch(replace(BASE, replay="uniform")),
    "catch, kl 0.01": catch(replace(BASE, kl_weight=0.01)),
    "catch, width 128": catch(replace(BASE, hidden=128)),
    "catch, width 64, 10 updates": catch(replace(BASE, hidden=64, updates=10, policy_updates=4)),
    "catch, isomorphs together": catch(replace(BASE, isomorphs="together")),
    "catch, 500 candidates": catch(replace(BASE, candidates=500)),
    "catch, learning rate 0.003": catch(replace(BASE, learning_rate=3e-3)),
    "catch, ranks": catch(replace(BASE, normalise="rank")),
}


def judge(asked: Ints, seeds: list[int]) -> dict[str, Any]:
    """Return what is reported of searches [R, queries]; lists have one number a search.

    A cell that is asked for twice costs two queries and is found once.
    """
    held = np.array([s % len(NAMES) for s in seeds])
    order = np.argsort(-table(), axis=1, kind="stable")
    rank = np.argsort(order, axis=1)[held[:, None], asked]
    best = np.minimum.accumulate(rank, axis=1)
    hit = rank == 0
    return {
        "found_10": [len({r for r in row if r < 10}) for row in rank.tolist()],
        "found_30": [len({r for r in row if r < 30}) for row in rank.tolist()],
        "hit": hit.any(axis=1).astype(int).tolist(),
        "queries_to_best": np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, QUERIES + 1).tolist(),
        "best_rank": [(1 + best[:, q - 1]).tolist() for q in (10, 20, 50)],
    }


def main() -> None:
    """Run what the result file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--searches", type=int, default=CHUNK, help="a multiple of 7")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "catch-transnas.json"
    for name in given.methods:
        stored = json.loads(path.read_text())["rows"] if path.exists() else {}
        if len(stored.get(name, {}).get("hit", ())) == given.searches:
            continue
        cpu, seeds = time.process_time(), list(range(given.searches))
        chunks = [seeds[i : i + CHUNK] for i in range(0, len(seeds), CHUNK)]
        asked = np.concatenate([METHODS[name](chunk) for chunk in chunks])
        row = {**judge(asked, seeds), "cpu_seconds": round(time.process_time() - cpu, 1)}
        shown = [round(float(np.mean(row[key])), 3) for key in ("hit", "found_10", "found_30")]
        print(f"{name}: best, of 10, of 30 {shown}, {row['cpu_seconds']} CPU s", flush=True)
        stored = json.loads(path.read_text())["rows"] if path.exists() else {}
        stored[name] = row
        write_result("catch-transnas", {"queries": QUERIES, "cells": CELLS, "rows": stored})
    _catch_transnas_page.write(path, list(METHODS))


if __name__ == "__main__":
    main()
