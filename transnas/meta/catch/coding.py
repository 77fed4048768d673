"""A space as arrays: one-hot states, masks and fingerprints of many architectures at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from transnas.spaces import Architecture, Space
from transnas.strategies import require_categorical
from transnas.strategies._stream import UInts, mix

__all__ = ["Coding", "Codes"]

Codes = npt.NDArray[np.int64]
"""Value codes of architectures, [..., T] for a space of T choices."""

_REMEMBERED = 100_000
_TABLED = 20_000
"""Masks of all prefixes of one length are kept where there are no more than these."""


class Coding:
    """T choices with D values in all; value v of choice t is feature `offsets[t] + v`."""

    def __init__(
        self,
        space: Space,
        dtype: torch.dtype,
        masking: bool = True,
        isomorphs: Literal["apart", "together"] = "apart",
    ) -> None:
        require_categorical(space, "strategy 'catch'")
        self.space = space
        self.dtype = dtype
        self.masking = masking
        self.isomorphs = isomorphs
        self._classes: dict[tuple[int, ...], tuple[int, ...]] = {}
        self.counts = np.array([len(c.values) for c in space.choices])
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)[:-1]])
        self.choices = len(self.counts)
        self.features = int(self.counts.sum())
        self._free = type(space).mask is Space.mask
        self._masks: dict[tuple[int, ...], npt.NDArray[np.bool_]] = {}
        self._tables: dict[int, npt.NDArray[np.bool_]] = {}
        owner = np.repeat(np.arange(self.choices), self.counts)
        self.slices = torch.as_tensor(owner[None, :] == np.arange(self.choices)[:, None])
        """[T, D]: whether a feature belongs to choice t."""
        self.before = torch.as_tensor(owner[None, :] < np.arange(self.choices)[:, None])
        """[T, D]: whether a feature belongs to a choice before t."""

    def onehot(self, codes: Codes) -> torch.Tensor:
        """Return [..., D] features of codes [..., T], also of prefixes [..., t]."""
        out = np.zeros((*codes.shape[:-1], self.features), dtype=np.float64)
        places = codes + self.offsets[: codes.shape[-1]]
        np.put_along_axis(out, places, 1.0, axis=-1)
        return torch.as_tensor(out, dtype=self.dtype)

    def states(self, codes: Codes) -> torch.Tensor:
        """Return the state before each decision, [..., T, D]: later choices are zeros."""
        return self.onehot(codes).unsqueeze(-2) * self.before.to(self.dtype)

    def prefixes(self, t: int) -> Codes:
        """Return every combination of the first t choices, [product of their counts, t]."""
        total = int(np.prod(self.counts[:t]))
        grid = np.indices(tuple(self.counts[:t].tolist())).reshape(t, total)
        return np.ascontiguousarray(grid.T.astype(np.int64))

    def number(self, codes: Codes) -> Codes:
        """Return the row in `prefixes(t)` of codes [..., t]."""
        result = np.zeros(codes.shape[:-1], dtype=np.int64)
        for count, code in zip(self.counts.tolist(), np.moveaxis(codes, -1, 0), strict=False):
            result = result * count + code
        return result

    def allowed(self, prefixes: Codes) -> npt.NDArray[np.bool_]:
        """Return which values of choice t may follow prefixes [..., t]: [..., counts[t]]."""
        t = prefixes.shape[-1]
        shape = (*prefixes.shape[:-1], int(self.counts[t]))
        if self._free or not self.masking:
            return np.broadcast_to(np.True_, shape)
        if np.prod(self.counts[:t], dtype=np.float64) <= _TABLED:
            return self._table(t)[self.number(prefixes)]
        prints = self.fingerprints(prefixes).reshape(-1)
        _, first, row = np.unique(prints, return_index=True, return_inverse=True)
        distinct = prefixes.reshape(len(prints), t)[first].tolist()
        masks = np.array([self._mask(tuple(prefix)) for prefix in distinct], dtype=np.bool_)
        return masks.reshape(len(distinct), shape[-1])[row].reshape(shape)

    def allowed_features(self, codes: Codes) -> torch.Tensor:
        """Return the features allowed at each decision of codes [..., T]: [..., T, D] bool."""
        out = np.zeros((*codes.shape, self.features), dtype=np.bool_)
        for t, (start, count) in enumerate(zip(self.offsets, self.counts, strict=True)):
            out[..., t, start : start + count] = self.allowed(codes[..., :t])
        return torch.as_tensor(out)

    def valid(self, codes: Codes) -> npt.NDArray[np.bool_]:
        """Return whether codes [..., T] are architectures of the space."""
        if self._free or self.masking:
            return np.ones(codes.shape[:-1], dtype=np.bool_)
        rows = map(tuple, codes.reshape(-1, self.choices).tolist())
        return np.array([self._allows(row) for row in rows]).reshape(codes.shape[:-1])

    def class_of(self, codes: tuple[int, ...]) -> tuple[int, ...]:
        """Return what networks count as the same by: codes [T], or those of the canonical form."""
        if self.isomorphs == "apart":
            return codes
        found = self._classes.get(codes)
        if found is None:
            if len(self._classes) >= _REMEMBERED:
                self._classes.clear()
            found = self.space.canonical(self.architecture(codes)).values
            self._classes[codes] = found
        return found

    def classes(self, codes: Codes) -> list[tuple[int, ...]]:
        """Return the `class_of` each row of codes [N, T]."""
        return [self.class_of(tuple(row)) for row in codes.tolist()]

    def architecture(self, codes: Sequence[int]) -> Architecture:
        """Return the architecture of codes [T]."""
        return Architecture(self.space.name, tuple(int(c) for c in codes))

    def fingerprints(self, codes: Codes) -> UInts:
        """Return a 64-bit hash of codes [..., T], to compare architectures by."""
        result: UInts = np.zeros(codes.shape[:-1], dtype=np.uint64)
        for code in np.moveaxis(codes, -1, 0):
            result = mix(result + code.astype(np.uint64) + np.uint64(1))
        return result

    def _table(self, t: int) -> npt.NDArray[np.bool_]:
        """Return the mask after every row of `prefixes(t)`; nothing after those not allowed."""
        if t not in self._tables:
            rows = self.prefixes(t).tolist()
            table = np.zeros((len(rows), int(self.counts[t])), dtype=np.bool_)
            for i, row in enumerate(rows):
                if self._allows(tuple(row)):
                    table[i] = self._mask(tuple(row))
            self._tables[t] = table
        return self._tables[t]

    def _allows(self, codes: tuple[int, ...]) -> bool:
        return all(self._mask(codes[:t])[code] for t, code in enumerate(codes))

    def _mask(self, prefix: tuple[int, ...]) -> npt.NDArray[np.bool_]:
        found = self._masks.get(prefix)
        if found is None:
            found = self.space.mask(prefix)
            if not found.any():
                raise ValueError(f"space {self.space.name!r} allows nothing after {prefix}")
            if len(self._masks) >= _REMEMBERED:
                self._masks.clear()
            self._masks[prefix] = found
        return found
