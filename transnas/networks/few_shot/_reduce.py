"""Factorised reduction for many tasks (see `transnas.networks.operations.FactorizedReduce`)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.networks.few_shot._functional import conv, split_channels

__all__ = ["factorized_reduce"]


def factorized_reduce(rectified: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """[n, B I, H, W] after ReLU, two weights [B, *E, O / 2, I, 1, 1] -> [n, B *E O, H / 2, W / 2].

    Where there are E weights a task, it is reduced E times. What a stride of 2 skips is left out
    before the convolutions.
    """
    x = F.pad(rectified, (0, rectified.shape[3] % 2, 0, rectified.shape[2] % 2))
    times = even.shape[:-4]
    halves = [
        conv(x[:, :, start::2, start::2], weight.flatten(1, -4))
        for start, weight in enumerate((even, odd))
    ]
    split = [split_channels(half, *times, -1) for half in halves]
    return torch.cat(split, dim=len(times) + 1).flatten(1, -3)
