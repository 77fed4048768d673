"""Architectures as rows of numbers, in blocks that kernels look at one by one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transnas.spaces import Architecture, Space
from transnas.strategies.bayesian._candidates import is_listable, listed
from transnas.strategies.bayesian._features import Features, describe

__all__ = ["Encoding", "encoding_of"]

_REFERENCE = 512
"""Random architectures that set scales and the known paths where a space is not enumerated."""


class Encoding:
    """Rows of `codes` | `numbers`, or with `paths` of `codes` | `summary` | `paths` | `numbers`.

    - codes: one-hot of the choices, those that cannot matter at a neutral value.
    - summary: counts of paths and operations, standardised over the space.
    - paths: weighted counts of path strings, operations and pairs (`_features`), so scaled that
      two architectures are at squared distance 1 in the median. Of an enumerated space only
      terms of several architectures: one that is a single one's is equally far from all others,
      and where paths spell whole architectures there would be as many columns as rows.
    - numbers: the ranges scaled to [0, 1].

    Attributes:
        blocks: The columns of each block that is not empty, by name.
        width: The number of columns.
    """

    def __init__(self, space: Space, paths: bool) -> None:
        self.space = space
        self._codes = space.width - len(space.ranges)
        sizes = {"codes": self._codes}
        self._terms: dict[tuple[str, ...], int] | None = None
        if paths and space.choices:
            reference = _reference(space)
            self._terms = _terms(reference, 2 if is_listable(space) else 1)
            self._set_scales(reference, self._terms)
            sizes |= {"summary": int(self._varying.sum()), "paths": len(self._terms)}
        sizes["numbers"] = len(space.ranges)
        edges = np.cumsum([0, *sizes.values()]).tolist()
        self.width: int = edges[-1]
        self.blocks = {
            name: slice(edges[i], edges[i + 1])
            for i, (name, size) in enumerate(sizes.items())
            if size
        }

    def _set_scales(self, reference: Features, terms: dict[tuple[str, ...], int]) -> None:
        n = len(space_columns := reference.summary.T)
        self._varying = np.array([column.std() > 0 for column in space_columns], dtype=np.bool_)
        # Numbers beside the architecture stand at the end of the summary; they have a block.
        self._varying[n - len(self.space.ranges) :] = False
        self._mean = reference.summary.mean(axis=0)
        self._spread = reference.summary.std(axis=0)
        rows = np.unique(np.linspace(0, len(reference) - 1, 300).astype(np.int64))
        columns = [reference.terms[term] for term in terms]
        part = np.asarray(reference.paths[rows][:, columns].todense(), dtype=np.float64)
        self._path_scale = _median_distance(part)

    def rows(self, archs: Sequence[Architecture]) -> Tensor:
        """Return the encodings of `archs`, float64 [len(archs), width]."""
        pruned = [Architecture(a.space, self.space.pruned(a).values, a.numbers) for a in archs]
        plain = self.space.encode(pruned).astype(np.float64)
        if self._terms is None:
            return torch.from_numpy(plain)
        features = describe(self.space, archs)
        summary = (features.summary - self._mean) / np.where(self._spread > 0, self._spread, 1)
        counts = np.zeros((len(archs), len(self._terms)))
        shared = [(j, self._terms[t]) for t, j in features.terms.items() if t in self._terms]
        if shared:
            theirs, ours = map(list, zip(*shared, strict=True))
            counts[:, ours] = features.paths[:, theirs].todense()
        parts = [plain[:, : self._codes], summary[:, self._varying],
                 counts / self._path_scale, plain[:, self._codes :]]  # fmt: skip
        return torch.from_numpy(np.concatenate(parts, axis=1))


@lru_cache(maxsize=8)
def encoding_of(space: Space, paths: bool) -> Encoding:
    """Return the encoding of `space`; cached."""
    return Encoding(space, paths)


def _median_distance(rows: npt.NDArray[np.float64]) -> float:
    """Return the median distance of two different rows of [n, terms]; 1 if that is 0."""
    from scipy.spatial.distance import pdist  # a broadcast would take gigabytes for many terms

    return float(np.sqrt(np.median(pdist(rows, "sqeuclidean")))) or 1.0


def _terms(reference: Features, least: int) -> dict[tuple[str, ...], int]:
    """Number the terms that at least so many architectures have."""
    owners = reference.paths.getnnz(axis=0)
    kept = [term for term, column in reference.terms.items() if owners[column] >= least]
    return {term: i for i, term in enumerate(kept)}


def _reference(space: Space) -> Features:
    if is_listable(space):
        return listed(space).features
    rng = np.random.default_rng(0)
    return describe(space, [space.sample(rng) for _ in range(_REFERENCE)])
