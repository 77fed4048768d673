"""How alike two architectures are expected to perform."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from transnas.strategies.bayesian._features import Features, Float, similarity

__all__ = ["Kernel"]

_CODES, _SUMMARY, _PATHS = 0.2, 0.35, 0.45
"""Shares of the three parts; they add to one."""
_PATH_SCALE = 1.5
"""Length scale of the path part, in median squared distances of the reference."""
SPREAD = 1000
"""The median is taken over pairs of so many of the reference."""
BLOCK = 256
"""Architectures whose class members are compared at once; bounds memory."""


class Kernel:
    """k(x, x') = 0.2 k_codes + 0.35 k_summary + 0.45 k_paths, with k(x, x) = 1.

    - k_codes is the mean of exp(-h / (c / 2)) over all pairs of members of the two isomorphism
      classes, where h of the c pruned choices differ, scaled to k_codes(x, x) = 1. Which member
      represents a class makes no difference.
    - k_summary = exp(-|u - u'|^2 / 2d): the d summary features, standardised on `reference`.
    - k_paths = exp(-D^2 / (1.5 m)): D is the distance of the weighted path counts, m its median
      square over pairs of `reference`. Two cells that compute sums of the same paths are alike
      however their edges are numbered.
    """

    def __init__(self, reference: Features) -> None:
        """Fix the scales on `reference`, a sample of the space (or all of it)."""
        spread = reference.summary.std(axis=0)
        self._varying = spread > 0
        self._mean = reference.summary.mean(axis=0)[self._varying]
        self._spread = spread[self._varying]
        rows = np.unique(np.linspace(0, len(reference) - 1, SPREAD).astype(np.int64))
        part = reference[rows]
        distances = self._path_distances(part, part)
        off_diagonal = distances[~np.eye(len(part), dtype=np.bool_)]
        typical = float(np.median(off_diagonal)) if off_diagonal.size else 0.0
        self._path_scale = _PATH_SCALE * (typical or 1.0)

    def between(self, a: Features, b: Features) -> Float:
        """Return the kernel of every pair, [len(a), len(b)]."""
        out: Float = np.float32(_CODES) * _code_similarity(a, b)
        u, v = self.standardised(a), self.standardised(b)
        squares = _distances((u * u).sum(1), (v * v).sum(1), u @ v.T)
        out += np.float32(_SUMMARY) * np.exp(squares * np.float32(-0.5 / max(u.shape[1], 1)))
        squares = self._path_distances(a, b)
        out += np.float32(_PATHS) * np.exp(squares * np.float32(-1.0 / self._path_scale))
        return out

    def standardised(self, features: Features) -> Float:
        """Return the summaries that vary on the reference, standardised there, [n, d]."""
        kept = features.summary[:, self._varying]
        standardised: Float = ((kept - self._mean) / self._spread).astype(np.float32)
        return standardised

    def _path_distances(self, a: Features, b: Features) -> Float:
        shared = [(j, a.terms[term]) for term, j in b.terms.items() if term in a.terms]
        rows, columns = [j for j, _ in shared], [i for _, i in shared]
        to_a = csr_matrix(
            (np.ones(len(shared), dtype=np.float32), (rows, columns)),
            shape=(len(b.terms), len(a.terms)),
        )
        products = np.asarray((a.paths @ (b.paths @ to_a).T).todense(), dtype=np.float32)
        return _distances(_norms(a.paths), _norms(b.paths), products)


def _code_similarity(a: Features, b: Features) -> Float:
    """Return k_codes of every pair, [len(a), len(b)]."""
    means = [
        _mean_similarity(a.codes[a.starts[low] : a.starts[high]], a.starts[low : high + 1], b)
        for low, high in _blocks(len(a))
    ]
    similarity: Float = np.concatenate(means) if means else np.zeros((0, len(b)), np.float32)
    similarity /= np.sqrt(a.self_similarity)[:, None] * np.sqrt(b.self_similarity)
    return similarity


def _blocks(n: int) -> list[tuple[int, int]]:
    return [(low, min(low + BLOCK, n)) for low in range(0, n, BLOCK)]


def _mean_similarity(
    codes: npt.NDArray[np.int16], starts: npt.NDArray[np.int64], b: Features
) -> Float:
    """Return the mean over members of the architectures that begin at `starts`, and of b's."""
    pairs = similarity(codes, b.codes)
    by_b = np.add.reduceat(pairs, b.starts[:-1], axis=1)
    sums: Float = np.add.reduceat(by_b, starts[:-1] - starts[0], axis=0)
    sums /= (np.diff(starts)[:, None] * np.diff(b.starts)).astype(np.float32)
    return sums


def _norms(matrix: csr_matrix) -> Float:
    norms: Float = np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float32).ravel()
    return norms


def _distances(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32], products: Float) -> Float:
    squares: Float = a[:, None] + b[None, :] - 2 * products
    return np.maximum(squares, 0, out=squares)
