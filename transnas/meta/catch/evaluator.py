"""The evaluator: which candidate is worth its training, from z and the network alone."""

from __future__ import annotations

import torch

from transnas.meta.catch.encoder import with_z
from transnas.meta.catch.mlp import Parameters, mlp

__all__ = ["choose", "huber_loss", "predict"]


def predict(parameters: Parameters, z: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
    """Return the predicted normalised reward h_psi([z, onehot]) of networks [R, N, D]: [R, N]."""
    return mlp(parameters, "evaluator", with_z(z, onehot)).squeeze(-1)


def huber_loss(error: torch.Tensor, weights: torch.Tensor, delta: float) -> torch.Tensor:
    """Return the weighted mean of the Huber loss over the last axis.

    e^2/2 where |e| <= delta, else delta (|e| - delta/2). `weights` of 0 leave entries out; the
    mean is over the others.
    """
    size = error.abs()
    loss = torch.where(size <= delta, 0.5 * error.square(), delta * (size - 0.5 * delta))
    return (weights * loss).sum(dim=-1) / (weights > 0).sum(dim=-1).clamp(min=1)


def choose(
    scores: torch.Tensor, present: torch.Tensor, epsilon: float, draws: torch.Tensor
) -> torch.Tensor:
    """Return the chosen candidate [R]: the best score, or with chance `epsilon` a uniform one.

    `scores` and `present` [R, M]; `draws` [R, 2] uniform in [0, 1). Among equal scores the first
    is chosen; candidates come in random order.
    """
    best = scores.masked_fill(~present, -torch.inf).argmax(dim=-1)
    count = present.sum(dim=-1)
    position = torch.minimum((draws[:, 1] * count).long(), count - 1)
    uniform = (
        ((present.cumsum(dim=-1) - 1 == position.unsqueeze(-1)) & present).int().argmax(dim=-1)
    )
    return torch.where(draws[:, 0] < epsilon, uniform, best)
