"""Rewards of one task on one scale: only the relative advantage within the history counts."""

from __future__ import annotations

from typing import Literal

import torch

__all__ = ["normalise"]


def normalise(
    rewards: torch.Tensor,
    present: torch.Tensor,
    method: Literal["winsor", "z", "rank"] = "winsor",
) -> torch.Tensor:
    """Return normalised rewards, [R, N]; 0 where absent, and everywhere if all are equal.

    `rewards` [R, N] float64; `present` [R, N] bool marks the history of each replicate.

    - "winsor": r' = max(r, median - 2 (max - median)), then clip((r' - mean) / sd, -3, 3). The
      floor keeps one disconnected network from flattening all the others.
    - "z": the same without the floor.
    - "rank": normal scores, the normal quantile of (rank - 1/2) / n; ties share their mean rank.

    Invariant under r -> a r + b, a > 0. A standard deviation below 1e-8 of the largest |r|
    counts as rounding.
    """
    count = present.sum(dim=-1, keepdim=True).clamp(min=1)
    if rewards.shape[-1] == 0:
        return rewards
    if method == "rank":
        return _normal_scores(rewards, present, count)
    known = rewards.masked_fill(~present, torch.nan)
    if method == "winsor":
        median = torch.nanquantile(known, 0.5, dim=-1, keepdim=True)
        top = rewards.masked_fill(~present, -torch.inf).amax(dim=-1, keepdim=True)
        known = torch.maximum(known, median - 2 * (top - median))
    mean = torch.nansum(known, dim=-1, keepdim=True) / count
    centred = torch.where(present, known - mean, 0.0)
    sd = (centred.square().sum(dim=-1, keepdim=True) / count).sqrt()
    largest = torch.where(present, known, 0.0).abs().amax(dim=-1, keepdim=True)
    spread = sd > 1e-8 * largest
    return torch.where(spread, centred / sd.where(spread, 1.0), 0.0).clamp(-3, 3)


def _normal_scores(
    rewards: torch.Tensor, present: torch.Tensor, count: torch.Tensor
) -> torch.Tensor:
    other = present.unsqueeze(-2)
    below = (rewards.unsqueeze(-2) < rewards.unsqueeze(-1)) & other
    equal = (rewards.unsqueeze(-2) == rewards.unsqueeze(-1)) & other
    rank = below.sum(dim=-1) + 0.5 * (equal.sum(dim=-1) + 1)
    scores = torch.special.ndtri((rank - 0.5) / count)
    return torch.where(present, scores, 0.0)
