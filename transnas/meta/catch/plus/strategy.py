"""catch+ as a search strategy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transnas.evaluation import Objective
from transnas.meta.catch.plus.latent import Latent
from transnas.meta.catch.plus.model import ensemble
from transnas.meta.catch.plus.prior import CatchPlusPrior
from transnas.meta.catch.plus.settings import CatchPlusSettings
from transnas.meta.store import Search, SmoothedSource
from transnas.meta.store.strategy import StoreTransfer
from transnas.spaces import Space
from transnas.strategies import register, require_categorical
from transnas.strategies.bayesian import Candidates

__all__ = ["CatchPlus"]


@register("catch+")
class CatchPlus(StoreTransfer):
    """Learning from earlier studies, with latent features that networks learnt on all of them.

    The model of `store-transfer` in which every part of CATCH has its sample-efficient
    counterpart: the slopes of the sources are the context, the Gaussian process the evaluator,
    expected improvement over all canonical architectures the policy. To it come networks trained
    on all sources (`latent`), as features of its kernel and as a second opinion on its means.
    Without a prior it is `store-transfer` from scratch.
    """

    Settings = CatchPlusSettings

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        objectives: Sequence[Objective] = (Objective(),),
        settings: Any = None,
        prior: CatchPlusPrior | None = None,
    ) -> None:
        """Search `space` with `prior`, or the one that the settings name."""
        self._latent: Latent | None = None if prior is None else prior.latent
        found = () if prior is None else prior.store.sources
        super().__init__(space, seed, objectives, settings, sources=found)

    def _learnt(self) -> tuple[SmoothedSource, ...]:
        if not self.settings.prior:
            return ()
        require_categorical(self.space, "strategy 'catch+' with a prior")
        prior = CatchPlusPrior.load(Path(self.settings.prior), self.space)
        self._latent = prior.latent
        return prior.store.sources

    def _over(self, candidates: Candidates) -> Search:
        return ensemble(candidates, self._sources, self._latent, self.settings)
