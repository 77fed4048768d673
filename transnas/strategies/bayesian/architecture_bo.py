"""Bayesian optimisation of listable spaces, fast: every class is a candidate at every query.

**Model.** y = b + S (g(x) + e): an offset b with a flat prior, a scale S with the prior 1 / S,
g ~ GP(0, k) with the kernel of `_kernel`, which compares choices, path statistics and paths, and
e ~ N(0, noise). The noise is fixed, or one of three with its evidence each (`_ensemble`).

**Next proposal.** The class of greatest expected improvement over the greatest posterior mean
among what was measured, with a share of the posterior's deviation, averaged over the noises by
their probability, or under the most probable one. A pending class is believed to turn out as
predicted (kriging believer): deviations shrink there, means stay.

An observation costs O(n N) for N classes, and nothing is fitted again, so that a query of
NAS-Bench-201 takes a fraction of a millisecond. `bo` is for numbers, other kernels and other
acquisitions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError, unknown
from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Space
from transnas.strategies._base import (
    Exhausted,
    Strategy,
    generator_state,
    restore_generator,
)
from transnas.strategies._draws import pack, packed, unpack
from transnas.strategies._improvement import any_of, expected_improvement
from transnas.strategies._registry import register
from transnas.strategies._replicates import register_replicated
from transnas.strategies.bayesian._candidates import Candidates, is_listable, listed
from transnas.strategies.bayesian._ensemble import Evidence, Incremental
from transnas.strategies.bayesian._rewards import clip_low
from transnas.strategies.settings import check_range

__all__ = ["ArchitectureBO", "ArchitectureSettings"]

_NOISES = {"fixed": (0.46,), "map": (0.1, 0.46, 2.0), "marginal": (0.1, 0.46, 2.0)}
"""Variances of the noise, as shares of that of g. Of fixed ones, 0.46 found most of the twenty best
cells of the seven TransNAS-Bench-101 micro tasks in 50 queries."""
_NEGLIGIBLE = 1e-3
"""A noise with less probability is left out of the acquisition."""


@dataclass(frozen=True)
class ArchitectureSettings:
    """Settings of `architecture-bo`."""

    start: int = 3
    """Random architectures before the first model."""
    hyperparameters: str = "marginal"
    """The noise: `fixed`, `map` (the most probable of three) or `marginal` (averaged over them)."""
    deviation: float = 0.4
    """Share of the posterior's deviation in the expected improvement; the smaller, the nearer the
    search stays to what is good. Chosen on TransNAS-Bench-101 (`benchmarks/architecture_bo.py`)."""

    def __post_init__(self) -> None:
        check_range(self, "start", least=1)
        check_range(self, "deviation", above=0)
        if self.hyperparameters not in _NOISES:
            value = self.hyperparameters
            raise unknown("setting 'hyperparameters' value", value, _NOISES)


class Search:
    """Candidates, what is known of them, and which is next."""

    def __init__(self, candidates: Candidates, settings: ArchitectureSettings) -> None:
        self.candidates = candidates
        self.free = np.ones(len(candidates), dtype=np.bool_)
        self._settings = settings
        noises = _NOISES[settings.hyperparameters]
        self._models = [Incremental(len(candidates), noise) for noise in noises]
        self._observed: list[int] = []
        self._rewards: list[float] = []

    @property
    def observations(self) -> int:
        """How many rewards are known."""
        return len(self._rewards)

    def observe(self, i: int, reward: float) -> None:
        """Take in the reward of candidate `i`."""
        self.free[i] = False
        column = self.candidates.column(i)
        for model in self._models:
            model.observe(i, column)
        self._observed.append(i)
        self._rewards.append(reward)

    def propose(self, pending: Sequence[int], rng: np.random.Generator) -> int:
        """Return the free candidate of greatest acquisition, ties at random; needs a free one."""
        if len(self._observed) < self._settings.start:
            return any_of(np.flatnonzero(self.free), rng)
        if pending:
            return self._believing(pending).propose((), rng)
        worth = np.where(self.free, self._acquisition(), -np.inf)
        return any_of(np.flatnonzero(worth == worth.max()), rng)

    def _weighed(self) -> list[tuple[float, Incremental, Evidence]]:
        """Return (probability, model, evidence) of each noise that is credible."""
        rewards = clip_low(np.array(self._rewards))
        found = [model.weigh(rewards - rewards[0]) for model in self._models]
        logs = np.array([evidence.log for evidence in found])
        weights = np.exp(logs - logs.max())
        if self._settings.hyperparameters == "map":
            weights = (np.arange(len(logs)) == logs.argmax()).astype(np.float64)
        weights /= weights.sum()
        triples = zip(weights.tolist(), self._models, found, strict=True)
        return [(w, model, evidence) for w, model, evidence in triples if w > _NEGLIGIBLE]

    def _acquisition(self) -> npt.NDArray[np.float32]:
        total = np.zeros(len(self.candidates), dtype=np.float32)
        weighed = self._weighed()
        largest = max(evidence.scale for _, _, evidence in weighed)
        for weight, model, evidence in weighed:
            mean, deviation = model.predict(evidence.white)
            share = np.float32(self._settings.deviation)
            gain = expected_improvement(mean - mean[self._observed].max(), share * deviation)
            total += np.float32(weight * evidence.scale / largest) * gain
        return total

    def _believing(self, pending: Sequence[int]) -> Search:
        """Return the search in which pending candidates turned out as the best model predicts."""
        _, model, evidence = max(self._weighed(), key=lambda triple: triple[0])
        mean, _ = model.predict(evidence.white)
        # The mean lacks the offset; a candidate that was measured has both.
        shift = float(np.mean(clip_low(np.array(self._rewards)))) / evidence.scale
        shift -= float(mean[self._observed].mean())
        believed = Search(self.candidates, self._settings)
        for i, reward in zip(self._observed, self._rewards, strict=True):
            believed.observe(i, reward)
        for i in pending:
            believed.observe(i, float(mean[i] + shift) * evidence.scale)
        believed.free &= self.free
        return believed


@register("architecture-bo")
class ArchitectureBO(Strategy):
    """Bayesian optimisation that scores all architectures of a listable space at every query."""

    Settings = ArchitectureSettings

    def _begin(self) -> None:
        if not is_listable(self.space):
            raise InputError(
                f"space {self.space.name!r} cannot be listed; strategy architecture-bo accepts: "
                "spaces of up to 50,000 architectures without number ranges (for others: bo)"
            )
        self._search: Search | None = None
        self._asked: set[Architecture] = set()
        self._pending: list[Architecture] = []
        self._told: list[tuple[Architecture, float]] = []

    def ask(self) -> Architecture:
        search = self._current()
        if not search.free.any():
            raise Exhausted(f"every architecture of {self.space.name} has been proposed")
        pending = [search.candidates.position[arch] for arch in self._pending]
        arch = search.candidates.archs[search.propose(pending, self.rng)]
        self._asked.add(arch)
        self._pending.append(arch)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        arch = self.space.canonical(arch)
        self._asked.add(arch)
        if arch in self._pending:
            self._pending.remove(arch)
        reward = self.objective.reward(measurement)
        if not math.isnan(reward):
            self._told.append((arch, reward))

    def _current(self) -> Search:
        """Return the search, brought up to date."""
        candidates = listed(self.space)
        if self._search is None:
            self._search = Search(candidates, self.settings)
        for arch, reward in self._told[self._search.observations :]:
            self._search.observe(candidates.position[arch], reward)
        self._search.free[[candidates.position[arch] for arch in self._asked]] = False
        return self._search

    def state(self) -> dict[str, Any]:
        return {
            "told": [[pack(arch), reward] for arch, reward in self._told],
            "asked": packed(self._asked),
            "pending": [pack(arch) for arch in self._pending],
            "rng": generator_state(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self._search = None
        self._told = [(unpack(self.space, arch), reward) for arch, reward in state["told"]]
        self._asked = {unpack(self.space, arch) for arch in state["asked"]}
        self._pending = [unpack(self.space, arch) for arch in state["pending"]]
        restore_generator(self.rng, state["rng"])


@register_replicated("architecture-bo")
def replicated(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    settings: ArchitectureSettings,
) -> npt.NDArray[np.int64]:
    """Many seeds on one table, without the bookkeeping of asks and tells; see `Replicated`."""
    candidates = listed(space)
    index = np.array([space.index(arch) for arch in candidates.archs])
    table = rewards[index]
    asked = np.full((len(seeds), queries), -1, dtype=np.int64)
    for row, seed in zip(asked, seeds, strict=True):
        search, rng = Search(candidates, settings), np.random.default_rng(seed)
        for t in range(min(queries, len(candidates))):
            chosen = search.propose((), rng)
            search.free[chosen] = False
            row[t] = index[chosen]
            if not np.isnan(table[chosen]):
                search.observe(chosen, float(table[chosen]))
    return asked
