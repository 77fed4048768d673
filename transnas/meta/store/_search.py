"""Which candidate to measure next."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transnas.meta.store._posterior import Columns, Posterior
from transnas.meta.store._sources import SmoothedSource
from transnas.meta.store._trust import RELATIONS, weigh
from transnas.strategies._improvement import any_of, expected_improvement
from transnas.strategies.bayesian import Candidates, Float

__all__ = ["RANDOM_STARTS", "Search", "source_values"]

RANDOM_STARTS = 3
"""Random architectures at the start where there is no source."""


def source_values(candidates: Candidates, sources: Sequence[SmoothedSource]) -> Float:
    """Return F_j at every candidate, [J, N]."""
    rows = [candidates.expand(source.architectures, source.weights) for source in sources]
    return np.stack(rows) if rows else np.zeros((0, len(candidates)), dtype=np.float32)


class Search:
    """Gaussian process search over a set of candidates."""

    def __init__(
        self,
        candidates: Candidates,
        sources: Sequence[SmoothedSource],
        values: Float | None = None,
        columns: Columns | None = None,
    ) -> None:
        """Start without observations, with the earlier studies `sources` (none is allowed).

        `values` [J, N] stand in for the sources' own at the candidates, `columns` for the
        candidates' own kernel.
        """
        # The mean of J independently doubtful sources is J times less doubtful.
        doubt = sum(source.doubt for source in sources) / max(len(sources), 1) ** 2
        if values is None:
            values = source_values(candidates, sources)
        self.candidates = candidates
        self.relations = len(RELATIONS) if len(sources) else 1
        self.posterior = Posterior(columns or candidates, values, doubt)
        self.free = np.ones(len(candidates), dtype=np.bool_)
        self.observed: list[int] = []
        self.rewards: list[float] = []

    def take(self, i: int) -> None:
        """Never propose candidate `i` again."""
        self.free[i] = False

    def observe(self, i: int, reward: float) -> None:
        """Take in the reward of candidate `i`."""
        self.take(i)
        self.posterior.observe(i)
        self.observed.append(i)
        self.rewards.append(reward)

    def propose(self, rng: np.random.Generator) -> int:
        """Return the free candidate with the greatest expected improvement (ties at random).

        Before there is enough to improve on: with sources the one with the greatest mean score,
        without sources a random one. Needs a free candidate.
        """
        if self.relations == 1 and len(self.observed) < RANDOM_STARTS:
            return any_of(np.flatnonzero(self.free), rng)
        worth = self._acquisition() if self.observed else self.posterior.mean_source
        worth = np.where(self.free, worth, -np.inf)
        return any_of(np.flatnonzero(worth == worth.max()), rng)

    def _acquisition(self) -> Float:
        """Return expected improvement over the best mean of an observed candidate, [N].

        Averaged over the credible relations between target and sources: a relation that has
        little credit but promises much elsewhere is put to the test early.
        """
        posterior = self.posterior
        deviation = posterior.deviation()
        total: Float = np.zeros(len(self.candidates), dtype=np.float32)
        hypotheses = weigh(posterior, np.array(self.rewards), self.relations)
        largest = max(hypothesis.scale for hypothesis in hypotheses)
        for h in hypotheses:
            mean = posterior.spread(h.residual / h.scale)
            mean += np.float32(h.relation) * posterior.mean_source
            gain = expected_improvement(mean - mean[self.observed].max(), deviation)
            total += np.float32(h.probability * h.scale / largest) * gain
        return total
