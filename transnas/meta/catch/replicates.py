"""Many searches of one table with CATCH, their agents stacked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transnas.meta.catch.settings import CatchSettings
from transnas.spaces import Space

__all__ = ["replicate_catch"]

TOGETHER = 50
"""Replicates in one batch; more of them would not fit the processor's cache."""


def replicate_catch(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    settings: CatchSettings,
    double: bool = False,
) -> npt.NDArray[np.int64]:
    """Return the `space.index` of each query of each replicate, [len(seeds), queries].

    Replicate i computes what the strategy `catch` with `seeds[i]` does. In float32 another number
    of replicates may round otherwise, and a near tie be broken otherwise; with `double` each
    sequence is that of a single agent in float64. `rewards` [space.size] by index, greater is
    better, NaN for a failed evaluation. A replicate with nothing left to propose repeats -1.
    """
    found = np.full((len(seeds), queries), -1, dtype=np.int64)
    for start in range(0, len(seeds), TOGETHER):
        part = slice(start, min(start + TOGETHER, len(seeds)))
        found[part] = _batch(space, rewards, list(seeds[part]), queries, settings, double)
    return found


def _batch(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: list[int],
    queries: int,
    settings: CatchSettings,
    double: bool,
) -> npt.NDArray[np.int64]:
    import torch

    from transnas.meta.catch.agent import run_task
    from transnas.meta.catch.coding import Codes
    from transnas.meta.catch.prior import CatchPrior
    from transnas.meta.catch.strategy import agent_of

    prior = CatchPrior.load(Path(settings.prior), space) if settings.prior else None
    if prior is not None:
        prior.check(space, settings)
    dtype = torch.float64 if double else torch.float32
    agent = agent_of(space, seeds, settings, prior, dtype)

    def index(codes: Codes) -> list[int]:
        return [space.index(agent.coding.architecture(row)) for row in codes.tolist()]

    asked = run_task(agent, lambda codes: rewards[index(codes)], queries)
    found = np.full(asked.shape[:2], -1, dtype=np.int64)
    known = asked[..., 0] >= 0
    found[known] = index(asked[known])
    return found
