"""Many searches of one table with catch+, each with its own prior."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transnas.meta.catch.plus.latent import Latent
from transnas.meta.catch.plus.model import ensemble
from transnas.meta.catch.plus.settings import CatchPlusSettings
from transnas.meta.store import Search, StorePrior, replicate_searches
from transnas.spaces import Space
from transnas.strategies.bayesian import Candidates

__all__ = ["replicate_plus"]


def replicate_plus(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    priors: Sequence[StorePrior],
    latents: Sequence[Latent | None],
    settings: CatchPlusSettings | None = None,
) -> npt.NDArray[np.int64]:
    """Return the `space.index` of each query of each replicate, [len(seeds), queries].

    As `store.replicate_transfer`, with the networks of each prior beside it.
    """
    chosen = settings or CatchPlusSettings()

    def over(candidates: Candidates, i: int) -> Search:
        return ensemble(candidates, priors[i].sources, latents[i], chosen)

    return replicate_searches(space, rewards, seeds, queries, over)
