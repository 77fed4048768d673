"""Gradients of several parameters as one vector, and back."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["flat", "set_gradients"]


def flat(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> Tensor:
    """Return the gradients of all parameters as one vector [n]; zeros where one is unused."""
    return torch.cat(
        [
            (torch.zeros_like(p) if g is None else g).detach().reshape(-1)
            for p, g in zip(parameters, gradients, strict=True)
        ]
    )


def set_gradients(parameters: Sequence[Tensor], joint: Tensor) -> None:
    """Give every parameter its part of the vector `joint` [n] as its gradient."""
    at = 0
    for p in parameters:
        p.grad = joint[at : at + p.numel()].view_as(p).clone()
        at += p.numel()
