"""What may be proposed: one representative of each isomorphism class."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from transnas.spaces import Architecture, Space
from transnas.strategies.bayesian._features import Features, Float, describe
from transnas.strategies.bayesian._kernel import Kernel

__all__ = ["Candidates", "is_listable", "kernel_of", "listed"]

MOST_LISTED = 50_000
"""Spaces with more code sequences are not enumerated."""
MOST_TABULATED = 8_192
"""With at most so many classes, the kernel of all pairs is kept (4 bytes a pair)."""
REFERENCE = 512
"""Random architectures that set the kernel's scales where the space is not enumerated."""


class Candidates:
    """Canonical architectures with their kernel; `position` finds an architecture."""

    def __init__(
        self,
        space: Space,
        archs: Sequence[Architecture],
        features: Features,
        kernel: Kernel,
    ) -> None:
        """Take `archs` with their `features`."""
        self.space = space
        self.kernel = kernel
        self.archs = tuple(archs)
        self.features = features
        self.position = {arch: i for i, arch in enumerate(self.archs)}
        small = len(self.archs) <= MOST_TABULATED
        self._table: Float | None = kernel.between(features, features) if small else None

    def __len__(self) -> int:
        return len(self.archs)

    def column(self, i: int) -> Float:
        """Return the kernel of candidate `i` with every candidate, [len(self)]."""
        if self._table is not None:
            row: Float = self._table[i]
            return row
        column: Float = self.kernel.between(self.features[np.array([i])], self.features)[0]
        return column

    def between(self, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> Float:
        """Return the kernel of the candidates at positions `a` with those at `b`."""
        if self._table is not None:
            block: Float = self._table[np.ix_(a, b)]
            return block
        return self.kernel.between(self.features[a], self.features[b])

    def expand(self, archs: Sequence[Architecture], weights: npt.NDArray[np.float64]) -> Float:
        """Return sum_i weights_i k(x, archs_i) at every candidate x, [len(self)]."""
        single = weights.astype(np.float32)
        positions = np.array([self.position.get(arch, -1) for arch in archs], dtype=np.int64)
        if self._table is not None and positions.min(initial=0) >= 0:
            block: Float = self._table[positions]
        elif positions.min(initial=0) >= 0:
            block = self.between(positions, np.arange(len(self)))
        else:
            block = self.kernel.between(describe(self.space, archs), self.features)
        values: Float = single @ block
        return values


def is_listable(space: Space) -> bool:
    """Tell whether every class of `space` is a candidate at once."""
    return not space.ranges and space.size <= MOST_LISTED


@lru_cache(maxsize=2)
def listed(space: Space) -> Candidates:
    """Return every class of a listable space, in the order of `Space.index`; cached."""
    members: dict[Architecture, list[Architecture]] = {}
    for arch in space.architectures():
        members.setdefault(space.canonical(arch), []).append(arch)
    archs = list(members)
    features = describe(space, archs, members)
    return Candidates(space, archs, features, Kernel(features))


@lru_cache(maxsize=4)
def kernel_of(space: Space) -> Kernel:
    """Return the kernel of `space`; cached."""
    if is_listable(space):
        return listed(space).kernel
    rng = np.random.default_rng(0)
    return Kernel(describe(space, [space.sample(rng) for _ in range(REFERENCE)]))
