"""Factorised reduction for many tasks (see `transnas.networks.operations.FactorizedReduce`)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.networks.few_shot._functional import conv, split_channels

__all__ = ["factorized_reduce"]


def factorized_reduce(rectified: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """[n, B I, H, W] after ReLU, two weights [B, O / 2, I, 1, 1] -> [n, B O, H / 2, W / 2]."""
    x = F.pad(rectified, (0, rectified.shape[3] % 2, 0, rectified.shape[2] % 2))
    halves = [conv(x, even, stride=2), conv(x[:, :, 1:, 1:], odd, stride=2)]
    split = [split_channels(half, len(even), -1) for half in halves]
    return torch.cat(split, dim=2).flatten(1, 2)
