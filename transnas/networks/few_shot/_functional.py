"""Layers of many networks at once: each task has its own weights, and no layer mixes tasks.

Maps are [n, B C, H, W]: n images of each of B tasks, whose channels follow one another. A
convolution of B sets of weights is one convolution in B groups, and batch normalisation over
B C channels normalises every task by itself, so the result is what B networks give one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.networks._quarters import joined_quarters, quarters

__all__ = [
    "EPSILON",
    "BatchStatistics",
    "FusedStatistics",
    "Norm",
    "Params",
    "SupportStatistics",
    "conv",
    "depthwise",
    "joined",
    "linear",
    "split_channels",
]

Params = Mapping[str, Tensor]
"""Named parameters; each has the task as its first dimension, [B, ...]."""

EPSILON = 1e-5


def conv(
    x: Tensor, weight: Tensor, bias: Tensor | None = None, stride: int = 1, padding: int = 0
) -> Tensor:
    """[n, B I, H, W], weight [B, O, I, k, k], bias [B, O] -> [n, B O, H', W']."""
    shift = None if bias is None else bias.flatten()
    return F.conv2d(x, weight.flatten(0, 1), shift, stride, padding, groups=len(weight))


def depthwise(x: Tensor, weight: Tensor, stride: int, dilation: int) -> Tensor:
    """[n, B C, H, W], weight [B, C, 1, k, k] -> [n, B C, H / stride, W / stride].

    A dilation of 2 never mixes odd and even rows or columns, so the four parts of a map are
    convolved without dilation, as four images; with a stride of 2 only one of them is read. That
    is exact, and several times faster than torch's dilated convolutions on processors.
    """
    flat = weight.flatten(0, 1)
    if dilation == 1:
        return _dense_depthwise(x, flat, stride)
    parts = quarters(x)
    if stride == 2:
        return _dense_depthwise(parts[: len(x)], flat, 1)
    height, width = x.shape[2:]
    return joined_quarters(_dense_depthwise(parts, flat, 1), height, width)


def _dense_depthwise(x: Tensor, weight: Tensor, stride: int) -> Tensor:
    return F.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=len(weight))


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[n, B I], weight [B, O, I], bias [B, O] -> [B, n, O]."""
    tasks = len(weight)
    split = x.reshape(len(x), tasks, -1).transpose(0, 1)
    return torch.baddbmm(bias[:, None], split, weight.transpose(1, 2))


def split_channels(x: Tensor, *sizes: int) -> Tensor:
    """[n, prod(sizes), H, W] -> [n, *sizes, H, W], without a copy."""
    return x.view(len(x), *sizes, *x.shape[2:])


def joined(parts: Sequence[Tensor], groups: int) -> Tensor:
    """Maps [n, G C_i, H, W] -> [n, G sum C_i, H, W]: side by side in each group, format kept."""
    if parts[0].stride(1) == 1:
        rows = [split_channels(part, groups, -1).permute(0, 3, 4, 1, 2) for part in parts]
        return torch.cat(rows, dim=4).flatten(3).permute(0, 3, 1, 2)
    return torch.cat([split_channels(part, groups, -1) for part in parts], dim=2).flatten(1, 2)


class Norm(Protocol):
    """Batch normalisation of maps [n, B C, H, W]; `name` says which layer asks.

    `scale` and `shift` are [B, C] or None (1 and 0).
    """

    def __call__(
        self, name: str, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor: ...


class BatchStatistics:
    """Each call normalises by the images that it is given (transductive for queries)."""

    def __call__(
        self, name: str, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """See `Norm`."""
        weight = None if scale is None else scale.flatten()
        bias = None if shift is None else shift.flatten()
        return F.batch_norm(x, None, None, weight, bias, training=True, eps=EPSILON)


class FusedStatistics(BatchStatistics):
    """`BatchStatistics` that a compiled kernel may apply in its place; differentiable once.

    Networks without such a kernel, or where it cannot run, compute the same by torch.
    """


class SupportStatistics:
    """The first `support` images are the support; it alone decides what all are normalised by."""

    def __init__(self, support: int) -> None:
        self.support = support

    def __call__(
        self, name: str, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """See `Norm`."""
        reference = x[: self.support]
        variance, mean = torch.var_mean(reference, dim=(0, 2, 3), correction=0)
        return _normalised(x, mean, variance, scale, shift)


def _normalised(
    x: Tensor, mean: Tensor, variance: Tensor, scale: Tensor | None, shift: Tensor | None
) -> Tensor:
    factor = (variance + EPSILON).rsqrt()
    if scale is not None:
        factor = factor * scale.flatten()
    out = (x - mean[:, None, None]) * factor[:, None, None]
    return out if shift is None else out + shift.flatten()[:, None, None]
