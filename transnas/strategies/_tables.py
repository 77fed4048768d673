"""The neighbourhood of a listable space as one array of indices, for vectorised replicates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod

import numpy as np
import numpy.typing as npt

from transnas.spaces import Space
from transnas.strategies._draws import free_choices

__all__ = ["Neighbourhood", "neighbourhood"]

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Neighbourhood:
    """Row i of `table` [size, most neighbours] lists `space.neighbours(space.at(i))` as indices.

    Rows with fewer (`degree` [size]) are filled with -1; there is at least one column.
    """

    table: Indices
    degree: Indices

    def mutants(self, parents: Indices, k: Indices) -> Indices:
        """Return the k-th neighbour of each parent, or the parent if it has none."""
        return np.where(self.degree[parents] > 0, self.table[parents, k], parents)


@lru_cache(maxsize=4)
def neighbourhood(space: Space) -> Neighbourhood:
    """Return the neighbourhood of every architecture of `space`; cached."""
    rows = _free_rows(space) if free_choices(space) else _listed_rows(space)
    return Neighbourhood(rows, (rows >= 0).sum(axis=1))


def _listed_rows(space: Space) -> Indices:
    archs = list(space.architectures())
    index = {arch: i for i, arch in enumerate(archs)}
    lists = [[index[n] for n in space.neighbours(arch)] for arch in archs]
    rows: Indices = np.full((len(archs), max(1, *map(len, lists))), -1, dtype=np.int64)
    for row, found in zip(rows, lists, strict=True):
        row[: len(found)] = found
    return rows


def _free_rows(space: Space) -> Indices:
    """Return the same by arithmetic: codes are digits of a number, an edit changes one digit."""
    counts = [len(c.values) for c in space.choices]
    codes = np.array([a.values for a in space.architectures()], dtype=np.int64)
    strides = np.array([prod(counts[i + 1 :]) for i in range(len(counts))], dtype=np.int64)
    numbers = codes @ strides
    index = np.empty(len(codes), dtype=np.int64)
    index[numbers] = np.arange(len(codes))
    columns: list[Indices] = []
    for digit, stride, count in zip(codes.T, strides.tolist(), counts, strict=True):
        for k in range(count - 1):
            value = k + (k >= digit)
            columns.append(index[numbers + (value - digit) * stride])
    return np.stack(columns or [np.full(len(codes), -1)], axis=1)
