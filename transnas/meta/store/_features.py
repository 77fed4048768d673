"""Architectures as numbers for the kernel, from what every space can tell about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from transnas.spaces import Architecture, Space

__all__ = ["Features", "Float", "describe"]

Float = npt.NDArray[np.float32]

_WHOLE_PATH, _OPERATION, _PAIR = 1.0, 0.5, 0.5
"""Weights of a path's string, of each of its operations and of each two in sequence."""


@dataclass(frozen=True)
class Features:
    """Three views of n architectures.

    Attributes:
        codes: Codes of the pruned architecture (what cannot matter is neutral), [n, choices].
        summary: Numbers and lengths of paths, operations on paths and in choices, and numbers
            beside the architecture scaled to [0, 1]; [n, d], not yet standardised.
        paths: Weighted counts of path strings, operations and pairs of operations over all
            input-output paths, [n, terms].
        terms: The column of each term of `paths`.
    """

    codes: npt.NDArray[np.int16]
    summary: npt.NDArray[np.float64]
    paths: csr_matrix
    terms: dict[tuple[str, ...], int]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> Features:
        return Features(self.codes[rows], self.summary[rows], self.paths[rows], self.terms)


def describe(space: Space, archs: Sequence[Architecture]) -> Features:
    """Return the features of `archs`."""
    labels = sorted({value for choice in space.choices for value in choice.values})
    summaries, counts = [], []
    terms: dict[tuple[str, ...], int] = {}
    codes = np.empty((len(archs), len(space.choices)), dtype=np.int16)
    for i, arch in enumerate(archs):
        codes[i] = space.pruned(arch).values
        paths = space.paths(arch)
        summaries.append(_summary(space, codes[i].tolist(), paths, arch.numbers, labels))
        counted = _count(paths)
        for term in counted:
            terms.setdefault(term, len(terms))
        counts.append(counted)
    lengths = [len(counted) for counted in counts]
    columns = [terms[term] for counted in counts for term in counted]
    values = np.array([v for counted in counts for v in counted.values()], dtype=np.float32)
    rows = np.concatenate([[0], np.cumsum(lengths)]) if lengths else np.zeros(1)
    matrix = csr_matrix((values, columns, rows), shape=(len(archs), len(terms)))
    return Features(codes, np.array(summaries, dtype=np.float64), matrix, terms)


def _summary(
    space: Space,
    codes: Sequence[int],
    paths: Sequence[tuple[str, ...]],
    numbers: Sequence[float],
    labels: Sequence[str],
) -> list[float]:
    lengths = [len(path) for path in paths] or [0]
    on_paths = Counter(label for path in paths for label in path)
    chosen = Counter(c.values[v] for c, v in zip(space.choices, codes, strict=True))
    return [
        len(paths),
        len(set(paths)),
        sum(lengths),
        max(lengths),
        min(lengths),
        *(on_paths[label] for label in labels),
        *(chosen[label] for label in labels),
        *(r.to_unit(number) for r, number in zip(space.ranges, numbers, strict=True)),
    ]


def _count(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    counted: dict[tuple[str, ...], float] = {}
    for path in paths:
        weighted = [(("path", *path), _WHOLE_PATH)]
        weighted += [(("operation", label), _OPERATION) for label in path]
        weighted += [(("pair", *pair), _PAIR) for pair in pairwise(path)]
        for term, weight in weighted:
            counted[term] = counted.get(term, 0.0) + weight
    return counted
