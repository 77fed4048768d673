"""A small masked space for tests of CATCH."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transnas.spaces import Choice, Space

__all__ = ["Tower"]


class Tower(Space):
    """A masked space of variable depth: absent layers are `-`, no two equal in a row."""

    name = "tower"
    choices = (
        Choice("depth", ("1", "2", "3")),
        *(Choice(f"layer {i}", ("-", "conv", "pool")) for i in range(3)),
    )

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        if not prefix:
            return np.ones(3, dtype=np.bool_)
        if len(prefix) - 1 > prefix[0]:
            return np.array([True, False, False])
        before = prefix[-1] if len(prefix) > 1 else 0
        return np.array([False, before != 1, before != 2])
