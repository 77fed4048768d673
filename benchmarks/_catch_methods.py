"""The rows of benchmarks/catch.py: what is searched, by whom, after learning from what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transnas import spaces, tasks
from transnas._data import data_folder
from transnas.evaluation.table import Table
from transnas.meta.catch import CatchSettings, SurrogateFamily, TableFamily, TaskFamily, meta_train
from transnas.meta.catch.agent import Agent, run_task
from transnas.meta.catch.catcher import Catcher
from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.training import MetaTrained
from transnas.spaces import Space
from transnas.strategies import replicate

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

SPACE = spaces.get("nasbench201")
TARGETS = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}
QUERIES = {"cifar10": 70, "cifar100": 50, "imagenet16-120": 50}
"""Searches go on to 70 where the published table is cut at 70; all else is judged at 50."""
CHUNK = 50
"""Replicates run together."""
SEARCH_SEEDS = 1_000_000
"""Seeds of searches begin here, those of meta-training at 0."""


@dataclass(frozen=True)
class Target:
    """One data set: the rewards of both protocols, and what hits are judged by, [15625] each."""

    short: Floats
    mean: Floats
    seed888: Floats
    test: Floats

    def reward(self, protocol: str) -> Floats:
        """Return what a query shows: after 12 epochs, or (F) after 200 with seed 888."""
        return self.short if protocol == "12" else self.seed888

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
    for i, arch in enumerate(SPACE.architectures()):
        found[arch.values] = i
    return found


def search(agent: Agent, reward: Floats, queries: int) -> Ints:
    """Return the cells that the agents asked for, [R, queries]."""

    def evaluate(codes: Codes) -> Floats:
        found: Floats = reward[index_of()[tuple(codes.T)]]
        return found

    asked = run_task(agent, evaluate, queries)
    found: Ints = index_of()[tuple(np.moveaxis(asked, -1, 0))]
    return found


def family(pool: str, seeds: list[int]) -> TaskFamily:
    """Return the tasks of a pool; C500 draws its own 500 rows for each seed."""
    if pool == "C500":
        return SurrogateFamily.of_metad2a(SPACE, seeds, rows=500)
    names = [n for n in tasks.names() if n.startswith("transnas101-micro/")]
    found = TableFamily.of_tasks([tasks.get(n) for n in names], SPACE)  # type: ignore[misc]
    if pool == "D, permuted":
        rng = np.random.default_rng(0)
        found.rewards = np.stack([rng.permutation(row) for row in found.rewards])
    return found


@cache
def trained(pool: str, settings: CatchSettings, start: int, stop: int) -> MetaTrained:
    """Return meta-trained replicates `start`..`stop` - 1."""
    seeds = list(range(start, stop))
    return meta_train(family(pool, seeds), SPACE, seeds, settings)


def in_space(inner: Space, index: int) -> int:
    """Return the index in NAS-Bench-201 of a cell of a space with some of its operations."""
    pairs = zip(SPACE.choices, inner.choices, inner.at(int(index)).values, strict=True)
    codes = [outer.values.index(own.values[code]) for outer, own, code in pairs]
    return SPACE.index(SPACE.architecture(codes))


@dataclass(frozen=True)
class Method:
    """A row: `run(replicates, searches)` gives cells [replicates, searches, queries] a target."""

    run: Callable[[int, int], dict[str, Ints]]
    size: tuple[int, int] = (50, 10)
    """Meta-trainings (or draws of a pool, or seeds), and searches with each."""
    pool: str = "–"
    protocol: str = "12"
    cheap: bool = False
    """Whether it takes seconds."""


SMALL = (50, 4)
"""Size of the ablations."""


def meta(
    pool: str,
    settings: CatchSettings,
    size: tuple[int, int] = SMALL,
    adapt: CatchSettings | None = None,
    inherit_mask: bool = False,
    protocol: str = "12",
) -> Method:
    """Meta-train on `pool` with `settings`, then search with each agent with those of `adapt`."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        found = {name: np.zeros((replicates, searches, q), int) for name, q in QUERIES.items()}
        for start in range(0, replicates, CHUNK):
            stop = min(start + CHUNK, replicates)
            agents = trained(pool, settings, start, stop)
            for name, cells in found.items():
                for c in range(searches):
                    own = [SEARCH_SEEDS + seed * searches + c for seed in range(start, stop)]
                    agent = agents.agent(range(stop - start), own, adapt, inherit_mask)
                    reward = target(name).reward(protocol)
                    cells[start:stop, c] = search(agent, reward, QUERIES[name])
        return found

    return Method(run, size, pool, protocol)


def scratch(settings: CatchSettings, size: tuple[int, int] = (100, 1)) -> Method:
    """CATCH-sfs: fresh parameters for every search."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        coding = Coding(SPACE, torch.float32, isomorphs=settings.isomorphs)
        found: dict[str, Ints] = {}
        for name, queries in QUERIES.items():
            parts = []
            for start in range(0, replicates, CHUNK):
                seeds = [SEARCH_SEEDS + s for s in range(start, min(start + CHUNK, replicates))]
                catcher = Catcher(seeds, coding.features, settings)
                agent = Agent(catcher, coding, seeds, settings.epsilon)
                parts.append(search(agent, target(name).short, queries))
            found[name] = np.concatenate(parts)[:, None]
        return found

    return Method(run, size)


def baseline(
    name: str, size: tuple[int, int] = (500, 1), protocol: str = "12", **settings: Any
) -> Method:
    """A strategy that learns from no other task."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        seeds = list(range(replicates))
        return {
            t: replicate(name, SPACE, target(t).reward(protocol), seeds, q, **settings)[:, None]
            for t, q in QUERIES.items()
        }

    return Method(run, size, protocol=protocol, cheap=True)


def fixed_list() -> Method:
    """The cells of the best mean rank over the TransNAS tasks (full tables), in that order."""

    def run(replicates: int, searches: int) -> dict[str, Ints]:
        pool = family("D", [0])
        assert isinstance(pool, TableFamily)
        ranks = np.argsort(np.argsort(pool.rewards, axis=1), axis=1).mean(axis=0)
        cells = np.array([in_space(pool.inner, i) for i in np.argsort(-ranks, kind="stable")[:70]])
        return {t: cells[None, None, :q] for t, q in QUERIES.items()}

    return Method(run, (1, 1), "D, full tables")


FULL = CatchSettings()
ZERO = replace(FULL, context="zero")
PPO_ALONE = replace(ZERO, candidates=1)

METHODS: dict[str, Method] = {
    "random": baseline("random"),
    "regularized evolution 10/3": baseline("regularized-evolution", population=10, sample=3),
    "regularized evolution 10/10": baseline("regularized-evolution", population=10, sample=10),
    "REINFORCE, learning rate 0.001": baseline("reinforce", learning_rate=0.001),
    "REINFORCE, learning rate 0.1": baseline("reinforce", learning_rate=0.1),
    "local search": baseline("local-search"),
    "TPE (Optuna)": baseline("tpe", (100, 1)),
    "fixed list by mean rank": fixed_list(),
    "CATCH": meta("D", FULL, (50, 10)),
    "CATCH, C500": meta("C500", FULL, (50, 10)),
    "CATCH-zero": meta("D", ZERO),
    "CATCH-zero, C500": meta("C500", ZERO),
    "CATCH-sfs": scratch(FULL),
    "PPO alone": scratch(PPO_ALONE),
    "CATCH-random": meta("D", replace(FULL, context="random")),
    "CATCH-random, C500": meta("C500", replace(FULL, context="random")),
    "CATCH, z = 0 at adaptation only": meta("D", FULL, adapt=ZERO),
    "CATCH, z = 0 at adaptation only, C500": meta("C500", FULL, adapt=ZERO),
    "CATCH, frozen at adaptation": meta("D", FULL, adapt=replace(FULL, updates=0)),
    "CATCH-zero, frozen at adaptation": meta("D", ZERO, adapt=replace(ZERO, updates=0)),
    "CATCH, frozen at adaptation, C500": meta("C500", FULL, adapt=replace(FULL, updates=0)),
    "CATCH-zero, frozen at adaptation, C500": meta("C500", ZERO, adapt=replace(ZERO, updates=0)),
    "CATCH without evaluator (M = 1)": meta("D", replace(FULL, candidates=1)),
    "CATCH, uniform replay": meta("D", replace(FULL, replay="uniform")),
    "CATCH, uniform replay, C500": meta("C500", replace(FULL, replay="uniform")),
    "CATCH, the pool's mask kept": meta("D", FULL, inherit_mask=True),
    "CATCH without masking": meta("D", replace(FULL, masking=False)),
    "CATCH, KL weight 0.01": meta("D", replace(FULL, kl_weight=0.01)),
    "CATCH, KL weight 0.01, C500": meta("C500", replace(FULL, kl_weight=0.01)),
    "CATCH, twice the updates": meta("D", replace(FULL, updates=10, policy_updates=4), (50, 10)),
    "CATCH, pool permuted": meta("D, permuted", FULL),
    "random, protocol F": baseline("random", protocol="F"),
    "regularized evolution 10/10, protocol F": baseline(
        "regularized-evolution", protocol="F", population=10, sample=10
    ),
    "local search, protocol F": baseline("local-search", protocol="F"),
    "CATCH, protocol F": meta("D", FULL, (50, 10), protocol="F"),
    "CATCH, C500, protocol F": meta("C500", FULL, (50, 10), protocol="F"),
}
