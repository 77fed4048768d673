"""Many searches of one table, each with its own sources."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.meta.store._prior import StorePrior
from transnas.meta.store._search import Search
from transnas.spaces import Space
from transnas.strategies import register_replicated
from transnas.strategies.bayesian import Candidates, is_listable, listed

__all__ = ["replicate_searches", "replicate_transfer"]


def replicate_transfer(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    priors: Sequence[StorePrior],
) -> npt.NDArray[np.int64]:
    """Return the `space.index` of each query of each replicate, [len(seeds), queries].

    Replicate i equals `priors[i].strategy(space, seeds[i])`. The kernel of all classes is shared;
    a replicate needs `queries` rows of it, so memory does not grow with the number of seeds. From
    where a replicate has proposed every class, it repeats -1.

    Args:
        space: A listable space.
        rewards: Greater is better, by `space.index`, NaN for a failed evaluation; [space.size].
        seeds: One a replicate.
        queries: Proposals a replicate.
        priors: One a replicate; a prior without sources searches from scratch.
    """
    return replicate_searches(
        space, rewards, seeds, queries, lambda c, i: Search(c, priors[i].sources)
    )


def replicate_searches(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    over: Callable[[Candidates, int], Search],
) -> npt.NDArray[np.int64]:
    """Return what `replicate_transfer` does for searches that `over` makes for replicate i."""
    if not is_listable(space):
        raise InputError(f"space {space.name!r} cannot be listed; accepted: a smaller space")
    candidates = listed(space)
    index = np.array([space.index(arch) for arch in candidates.archs])
    table = np.asarray(rewards, dtype=np.float64)[index]
    asked = np.full((len(seeds), queries), -1, dtype=np.int64)
    for i, (row, seed) in enumerate(zip(asked, seeds, strict=True)):
        search = over(candidates, i)
        rng = np.random.default_rng(seed)
        for t in range(min(queries, len(candidates))):
            chosen = search.propose(rng)
            search.take(chosen)
            row[t] = index[chosen]
            if not np.isnan(table[chosen]):
                search.observe(chosen, float(table[chosen]))
    return asked


@register_replicated("store-transfer")
def _replicate(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    settings: Any,
) -> npt.NDArray[np.int64]:
    folder = settings.prior
    prior = StorePrior.load(Path(folder), space) if folder else StorePrior(space, ())
    return replicate_transfer(space, rewards, seeds, queries, [prior] * len(seeds))
