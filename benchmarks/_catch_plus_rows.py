"""The rows of benchmarks/catch.py that model sources with a Gaussian process: store and catch+."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
from _catch_methods import QUERIES, SPACE, TARGETS, Ints, Method, target
from learning_from_studies import Tables, micro_pool, subset_pool

from transnas.meta.catch.plus import CatchPlusSettings, replicate_plus
from transnas.meta.catch.plus.latent import Latent
from transnas.meta.catch.plus.prior import latents_of
from transnas.meta.store import StorePrior, learn, replicate_transfer, source_values
from transnas.strategies.bayesian import listed

TRAINED_TOGETHER = 25
SUBSET_ROWS = {"C500": 500, "C4000": 4000}
"""Rows of ImageNet subsets by pool; the larger one shows what the smaller one lacks."""


@cache
def tables() -> Tables:
    """Return the measurements of all pools."""
    return Tables()


@cache
def priors(pool: str, seeds: int) -> tuple[StorePrior, ...]:
    """Return the priors of seeds 0..seeds - 1, the draws of docs/results/learning-from-studies."""
    rows = SUBSET_ROWS.get(pool)
    draw = micro_pool(tables(), 71) if rows is None else subset_pool(tables(), rows)
    return tuple(learn(draw(np.random.default_rng([201, s])), SPACE) for s in range(seeds))


@cache
def latents(pool: str, seeds: int) -> tuple[Latent | None, ...]:
    """Return the networks of the same seeds."""
    found: list[Latent | None] = []
    for start in range(0, seeds, TRAINED_TOGETHER):
        part = range(start, min(start + TRAINED_TOGETHER, seeds))
        found += latents_of([priors(pool, seeds)[s] for s in part], list(part))
    return tuple(found)


def _row(
    pool: str, run: Callable[[int, str], Ints], protocol: str = "12", seeds: int = 500
) -> Method:
    def every(replicates: int, searches: int) -> dict[str, Ints]:
        return {t: run(replicates, t)[:, None] for t in TARGETS}

    return Method(every, (seeds, 1), pool, protocol)


def scratch(protocol: str = "12") -> Method:
    """The store model without sources."""

    def run(n: int, name: str) -> Ints:
        empty = [StorePrior(SPACE, ())] * n
        reward = target(name).reward(protocol)
        return replicate_transfer(SPACE, reward, range(n), QUERIES[name], empty)

    return _row("–", run, protocol)


def store(pool: str, protocol: str = "12", seeds: int = 500) -> Method:
    """Learning from earlier studies."""

    def run(n: int, name: str) -> Ints:
        reward = target(name).reward(protocol)
        return replicate_transfer(SPACE, reward, range(n), QUERIES[name], priors(pool, n))

    return _row(pool, run, protocol, seeds)


def fixed_order(pool: str) -> Method:
    """The mean of the smoothed sources, without a look at the target's rewards."""

    def run(n: int, name: str) -> Ints:
        index = np.array([SPACE.index(arch) for arch in listed(SPACE).archs])
        scores = [source_values(listed(SPACE), p.sources).mean(axis=0) for p in priors(pool, n)]
        orders = [np.argsort(-s, kind="stable")[: QUERIES[name]] for s in scores]
        return np.array([index[order] for order in orders])

    return _row(pool, run)


def plus(pool: str, settings: CatchPlusSettings, protocol: str = "12") -> Method:
    """catch+."""

    def run(n: int, name: str) -> Ints:
        reward, queries = target(name).reward(protocol), QUERIES[name]
        return replicate_plus(
            SPACE, reward, range(n), queries, priors(pool, n), latents(pool, n), settings
        )

    return _row(pool, run, protocol)


ALL = CatchPlusSettings()
ROWS: dict[str, Method] = {
    "Gaussian process from scratch": scratch(),
    "rank transfer in fixed order, D71": fixed_order("D71"),
    "rank transfer in fixed order, C500": fixed_order("C500"),
    "learning from earlier studies, D71": store("D71"),
    "learning from earlier studies, C500": store("C500"),
    "learning from earlier studies, C4000": store("C4000", seeds=100),
    "catch+, D71": plus("D71", ALL),
    "catch+, C500": plus("C500", ALL),
    "catch+ without ensemble, D71": plus("D71", replace(ALL, ensemble=False)),
    "catch+ without ensemble, C500": plus("C500", replace(ALL, ensemble=False)),
    "catch+ without latent features, D71": plus("D71", replace(ALL, latent_share=0.0)),
    "catch+ without latent features, C500": plus("C500", replace(ALL, latent_share=0.0)),
    "catch+ without learnt means, D71": plus("D71", replace(ALL, learnt_mean=False)),
    "catch+ without learnt means, C500": plus("C500", replace(ALL, learnt_mean=False)),
    "learning from earlier studies, D71, protocol F": store("D71", "F"),
    "learning from earlier studies, C500, protocol F": store("C500", "F"),
    "catch+, D71, protocol F": plus("D71", ALL, "F"),
    "catch+, C500, protocol F": plus("C500", ALL, "F"),
}
