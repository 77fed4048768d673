"""Maximum mean discrepancy (Gretton et al., "A Kernel Two-Sample Test", JMLR 2012).

The unbiased estimate is a U-statistic and may be negative: it is neither clamped nor rooted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "FACTORS",
    "Constant",
    "Kernel",
    "block_mmd2",
    "gram",
    "half_mmd2",
    "median_kernel",
    "mmd2",
    "squared_distances",
]

FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The squared bandwidths of the mixture, in units of the median squared distance."""

Constant = Callable[[Tensor], Tensor]
"""Takes a value out of the graph, or gives that of another point in its place."""


class Kernel(NamedTuple):
    """k(x, y) = mean over s of exp(-|x - y|^2 / (2 s sigma^2)); values in (0, 1]."""

    variance: Tensor | float
    """sigma^2, never part of a graph: features would learn to scale themselves."""
    factors: Sequence[float] = (1.0,)

    def __call__(self, distances: Tensor) -> Tensor:
        """Map squared distances of any shape to kernel values of the same shape."""
        total = torch.zeros_like(distances)
        for factor in self.factors:
            total = total + torch.exp(distances / (-2.0 * factor * self.variance))
        return total / len(self.factors)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """[m, d], [n, d] -> [m, n]; differentiable twice, never negative."""
    square = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2.0 * x @ y.T
    return square.clamp_min(0.0)


def median_kernel(
    distances: Tensor, factors: Sequence[float] = FACTORS, constant: Constant = Tensor.detach
) -> Kernel:
    """Return the mixture around the median of squared distances [n, n] of distinct points.

    The median is a `constant`; where it is 0, sigma^2 is 1.
    """
    n = len(distances)
    above = torch.ones(n, n, dtype=torch.bool, device=distances.device).triu(1)
    median = distances.detach()[above].median()
    return Kernel(constant(torch.where(median > 0, median, torch.ones_like(median))), factors)


def mmd2(x: Tensor, y: Tensor, kernel: Kernel, biased: bool = False) -> Tensor:
    """Return the squared MMD [] of samples x [m, d] and y [n, d]; m, n >= 2 unless `biased`."""
    m, n = len(x), len(y)
    within_x, within_y = (kernel(squared_distances(z, z)) for z in (x, y))
    across = kernel(squared_distances(x, y)).mean()
    if biased:
        return within_x.mean() + within_y.mean() - 2.0 * across
    mean_x = (within_x.sum() - within_x.trace()) / (m * (m - 1))
    mean_y = (within_y.sum() - within_y.trace()) / (n * (n - 1))
    return mean_x + mean_y - 2.0 * across


def gram(z: Tensor, scale: float | None = None, constant: Constant = Tensor.detach) -> Tensor:
    """Return the kernel matrix [n, n] of features z [n, d].

    `scale` is the squared bandwidth of one Gaussian; None: the mixture around the median.
    """
    distances = squared_distances(z, z)
    kernel = median_kernel(distances, constant=constant) if scale is None else Kernel(scale)
    return kernel(distances)


def block_mmd2(kernel: Tensor, sets: int) -> Tensor:
    """Return unbiased squared MMDs of all pairs of sets [sets, sets]; the diagonal is 0.

    `kernel` [sets * r, sets * r] is the Gram matrix of equally large sets, one after the other.
    """
    r = len(kernel) // sets
    blocks = kernel.reshape(sets, r, sets, r)
    across = blocks.sum(dim=(1, 3)) / r**2
    trace = kernel.diagonal().reshape(sets, r).sum(1)
    within = (across.diagonal() * r**2 - trace) / (r * (r - 1))
    found = within[:, None] + within[None, :] - 2.0 * across
    return found - torch.diag(found.diagonal())


def half_mmd2(kernel: Tensor, sets: int) -> Tensor:
    """Return the unbiased squared MMD [sets] of the two halves of each set: augmentation alone."""
    r = len(kernel) // sets
    half = r // 2
    own = kernel.reshape(sets, r, sets, r).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    first, second = own[:, :half, :half], own[:, half : 2 * half, half : 2 * half]
    means = [
        (part.sum(dim=(1, 2)) - part.diagonal(dim1=1, dim2=2).sum(1)) / (half * (half - 1))
        for part in (first, second)
    ]
    across = own[:, :half, half : 2 * half].mean(dim=(1, 2))
    return means[0] + means[1] - 2.0 * across
