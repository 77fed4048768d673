"""Random numbers of many replicates, each addressed by what it is for.

A draw is a hash of (seed, address, number). Nothing is consumed, so there is no generator state
to save, and a replicate draws the same whichever others run beside it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri

from transnas.strategies._stream import Stream, UInts, draw_uniform, keys, mix

__all__ = ["Draws"]

_HALF_STEP = 2.0**-54
_ODD = 0xD1B54A32D192ED03
_MASK = (1 << 64) - 1


class Draws:
    """The random numbers of R replicates, from their seeds."""

    def __init__(self, seeds: Sequence[int], dtype: torch.dtype) -> None:
        self.keys = keys(seeds)
        self.dtype = dtype

    def uniform(self, shape: tuple[int, ...], *address: int) -> npt.NDArray[np.float64]:
        """Return uniform numbers inside (0, 1), [R, *shape]."""
        count = int(np.prod(shape))
        numbers = draw_uniform(self._keys(address)[:, None], np.arange(count)[None, :])
        return (numbers + _HALF_STEP).reshape(len(self.keys), *shape)

    def normal(self, shape: tuple[int, ...], *address: int) -> torch.Tensor:
        """Return numbers from N(0, 1), [R, *shape]."""
        return torch.as_tensor(ndtri(self.uniform(shape, *address)), dtype=self.dtype)

    def gumbel(self, shape: tuple[int, ...], *address: int) -> torch.Tensor:
        """Return numbers from the standard Gumbel distribution, [R, *shape]."""
        return torch.as_tensor(-np.log(-np.log(self.uniform(shape, *address))), dtype=self.dtype)

    def generator(self, replicate: int, *address: int) -> np.random.Generator:
        """Return a numpy generator for one replicate."""
        return Stream(int(self._keys(address)[replicate])).generator()

    def _keys(self, address: tuple[int, ...]) -> UInts:
        result = self.keys
        for number in address:
            result = mix(result ^ np.uint64((number + 1) * _ODD & _MASK))
        return result
