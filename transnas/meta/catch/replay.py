"""Prioritised experience replay: networks that the evaluator got wrong come up more often.

Source: Schaul et al., "Prioritized Experience Replay", ICLR 2016. Deviation: batches of most of
the memory are drawn without replacement, because four fifths with replacement would hold little
more than half of the entries. Importance weights are then powers of the chance to be in such a
batch; those of single draws would turn the priorities round, as nearly every entry is in it.
"""

from __future__ import annotations

import torch

__all__ = ["importance", "new_priority", "priority", "probabilities", "without_replacement"]

_LEAST = 1e-3


def priority(error: torch.Tensor) -> torch.Tensor:
    """Return |error| + 0.001."""
    return error.abs() + _LEAST


def new_priority(priorities: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return what a new entry gets: the largest of each replicate's priorities, 1 at first."""
    largest = priorities.masked_fill(~present, 0.0).amax(dim=-1)
    return torch.where(present.any(dim=-1), largest, 1.0)


def probabilities(priorities: torch.Tensor, present: torch.Tensor, alpha: float) -> torch.Tensor:
    """Return P(i) = p_i^alpha / sum p^alpha over the present entries, [R, N]."""
    powers = priorities.pow(alpha).masked_fill(~present, 0.0)
    return powers / powers.sum(dim=-1, keepdim=True).clamp(min=torch.finfo(powers.dtype).tiny)


def without_replacement(
    chances: torch.Tensor, share: float, gumbel: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return which entries are drawn, ceil(share n) distinct ones of n, and with what chance.

    Both [R, N], bool and in [0, 1]. The largest keys log P(i) + G_i with Gumbel noise `gumbel`
    [R, N] are a draw one after another without replacement (Vieira, "Gumbel-max trick and weighted
    reservoir sampling", 2014). The chance is that of a key above the largest one left out, kappa:
    q_i = 1 - exp(-P(i) exp(-kappa)), with which sums over drawn entries of f_i / q_i are unbiased
    (Kool et al., "Stochastic Beams and Where to Find Them", ICML 2019, eq. 12).
    """
    present = chances > 0
    size = torch.ceil(share * present.sum(dim=-1, keepdim=True) - 1e-9).long()
    keys = (chances.log() + gumbel).masked_fill(~present, -torch.inf)
    ordered, order = keys.sort(dim=-1, descending=True, stable=True)
    rank = order.argsort(dim=-1)
    ordered = torch.nn.functional.pad(ordered, (0, 1), value=-torch.inf)
    inclusion = -torch.expm1(-chances * torch.exp(-ordered.gather(-1, size)))
    return (rank < size) & present, inclusion


def importance(inclusion: torch.Tensor, drawn: torch.Tensor, beta: float) -> torch.Tensor:
    """Return the weights q_i^-beta of the drawn entries, divided by the largest; else 0."""
    weights = torch.where(drawn, inclusion.where(drawn, 1.0).pow(-beta), 0.0)
    return weights / weights.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
