"""Store transfer: a Gaussian process search that starts from what earlier studies found.

**Model.** Architectures x of one space, earlier studies j = 1..J, a new task with rewards y:

1. A study's rewards become normal scores of their ranks, so that percent, losses and skewed
   scales count alike, and are smoothed by a Gaussian process over architectures (`_sources`):
   F_j(x) = E[f_j(x) | study j]. Its noise share is chosen by the evidence: a study without
   structure gets a flat F_j. Averages of smoothed studies are robust; a joint multi-task
   process has J^2 covariances to learn from a few dozen rows each.
2. The new task (`_posterior`, `_trust`):
   y = b + S (s m(x) + sum_j w_j F_j(x) + g(x) + e), where m = mean_j F_j.
   - b is flat and S is estimated, so that the search does not change under y -> p y + q, p > 0.
   - s is 1, 0 or -1 (sources agree, are irrelevant, or are reversed) with prior 0.98, 0.01, 0.01.
   - w_j ~ N(0, 0.2^2) lets the new task prefer some sources to others.
   - g ~ GP(0, (0.5^2 + d) k) is what no source knows; d is the variance of the mean of the f_j,
     so that few short studies bind less. e ~ N(0, 0.34^2) is the noise of one training.
   - k (`_kernel`) compares pruned choices, path statistics and the paths themselves.
   Rewards far below the upper quartile are raised to a bound that follows their own scale.
3. The next architecture (`_search`) has the greatest expected improvement over the best
   posterior mean among the measured ones, averaged over s by its posterior probability.

**Why it cannot be misled for long.** Every measurement moves weight from the sources to the new
task's own data. If the ranks are reversed, "agrees" can never be refuted by looking only where it
points, because the offset b explains a uniformly bad region. The average over s does look
elsewhere: if s = -1, the sources' worst architectures would be a gain of several S, so even 1%
of credit outweighs the small gain left at the favourites after a measurement or two; that one
query decides between the relations. A source without information has a flat m and changes nothing.

**From scratch.** Without sources the same search starts with three random architectures.

**Large spaces.** Up to 50,000 code sequences, every isomorphism class is a candidate. Beyond,
each proposal chooses among mutants of the best architectures measured here or in a source, and
fresh samples.

Source: the components are standard (Rasmussen & Williams, "Gaussian Processes for Machine
Learning", 2006; ranks across tasks: Salinas, Shen & Perrone, ICML 2020); the mixture over the
relation s is ours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from transnas.evaluation import Measurement, Objective
from transnas.meta.store._search import Search
from transnas.meta.store._sources import SmoothedSource
from transnas.spaces import Architecture, Space
from transnas.strategies import (
    Exhausted,
    Strategy,
    generator_state,
    register,
    restore_generator,
)
from transnas.strategies.bayesian import Candidates, describe, is_listable, kernel_of, listed

__all__ = ["StoreSettings", "StoreTransfer"]

PARENTS, MUTANTS, SAMPLES = 5, 500, 500
"""Candidates on a large space: mutants, by one or two edits, of the best few measured here and in
each source, and fresh samples."""


@dataclass(frozen=True)
class StoreSettings:
    """Settings of `store-transfer`."""

    prior: str = ""
    """Folder of a prior from `learn`; empty: no earlier studies, a search from scratch."""


@register("store-transfer")
class StoreTransfer(Strategy):
    """Gaussian process search that starts from earlier studies; without any, from scratch."""

    Settings: ClassVar[type[Any]] = StoreSettings

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        objectives: Sequence[Objective] = (Objective(),),
        settings: Any = None,
        *,
        sources: Sequence[SmoothedSource] = (),
    ) -> None:
        """Search `space` with smoothed `sources` of the same space (see `StorePrior`)."""
        super().__init__(space, seed, objectives, settings)
        self._sources = tuple(sources) or self._learnt()
        self._told: list[tuple[Architecture, float]] = []
        self._asked: set[Architecture] = set()
        self._search: Search | None = None

    def _learnt(self) -> tuple[SmoothedSource, ...]:
        if not self.settings.prior:
            return ()
        from transnas.meta.store._prior import StorePrior

        return StorePrior.load(Path(self.settings.prior), self.space).sources

    def ask(self) -> Architecture:
        """Return the canonical architecture with the greatest expected improvement."""
        search = self._listed() if is_listable(self.space) else self._sampled()
        if not search.free.any():
            raise Exhausted(f"every architecture of {self.space.name} has been proposed")
        arch = search.candidates.archs[search.propose(self.rng)]
        self._asked.add(arch)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        """Take in a measurement; a failed one only rules its architecture out."""
        arch = self.space.canonical(arch)
        self._asked.add(arch)
        reward = self.objective.reward(measurement)
        if not math.isnan(reward):
            self._told.append((arch, reward))

    def _over(self, candidates: Candidates) -> Search:
        """Return a new search over `candidates`."""
        return Search(candidates, self._sources)

    def _listed(self) -> Search:
        """Return the search over every class, brought up to date."""
        candidates = listed(self.space)
        if self._search is None:
            self._search = self._over(candidates)
        for arch, reward in self._told[len(self._search.observed) :]:
            self._search.observe(candidates.position[arch], reward)
        self._search.free[[candidates.position[arch] for arch in self._asked]] = False
        return self._search

    def _sampled(self) -> Search:
        """Return a search over what was measured, mutants of the best, and fresh samples."""
        told = list(dict.fromkeys(arch for arch, _ in self._told))
        best = sorted(self._told, key=lambda pair: -pair[1])[:PARENTS]
        parents = [arch for arch, _ in best]
        parents += [arch for source in self._sources for arch in source.architectures[:PARENTS]]
        fresh = [self.space.sample(self.rng) for _ in range(SAMPLES)] + parents
        for _ in range(MUTANTS if parents else 0):
            mutant = parents[int(self.rng.integers(len(parents)))]
            for _ in range(1 + int(self.rng.integers(2))):
                mutant = self.space.mutate(mutant, self.rng)
            fresh.append(mutant)
        known = self._asked.union(told)
        canonical = dict.fromkeys(self.space.canonical(arch) for arch in fresh)
        archs = told + [arch for arch in canonical if arch not in known]
        candidates = Candidates(
            self.space, archs, describe(self.space, archs), kernel_of(self.space)
        )
        search = self._over(candidates)
        search.free[: len(told)] = False
        for arch, reward in self._told:
            search.observe(candidates.position[arch], reward)
        return search

    def state(self) -> dict[str, Any]:
        """Return the measurements, what was proposed, and the generator."""
        return {
            "told": [[self.space.to_json(arch), reward] for arch, reward in self._told],
            "asked": sorted(self.space.to_json(arch) for arch in self._asked),
            "rng": generator_state(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a `state()` of a strategy with the same sources."""
        self._told = [(self.space.from_json(text), reward) for text, reward in state["told"]]
        self._asked = {self.space.from_json(text) for text in state["asked"]}
        self._search = None
        restore_generator(self.rng, state["rng"])
