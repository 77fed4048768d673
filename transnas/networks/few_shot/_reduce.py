"""Factorised reduction for many tasks (see `transnas.networks.operations.FactorizedReduce`)."""

from __future__ import annotations

import math

from torch import Tensor

from transnas.networks._quarters import quarters
from transnas.networks.few_shot._functional import conv, joined

__all__ = ["factorized_reduce"]


def factorized_reduce(rectified: Tensor, even: Tensor, odd: Tensor) -> Tensor:
    """[n, B I, H, W] after ReLU, two weights [B, *E, O / 2, I, 1, 1] -> [n, B *E O, H / 2, W / 2].

    Where there are E weights a task, it is reduced E times. What a stride of 2 skips is left out
    before the convolutions.
    """
    parts = quarters(rectified).chunk(4)
    halves = [
        conv(part, weight.flatten(1, -4))
        for part, weight in zip((parts[0], parts[3]), (even, odd), strict=True)
    ]
    return joined(halves, math.prod(even.shape[:-4]))
