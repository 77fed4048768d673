"""The target's Gaussian process over all candidates, one observation after another."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

from transnas.strategies.bayesian import Float

__all__ = ["AMPLITUDE", "NOISE", "SLOPE", "Columns", "Posterior"]

AMPLITUDE = 0.5
"""Standard deviation of what no source explains (g), in units of a source's scores."""
NOISE = 0.34
"""Standard deviation of a measurement, in the same units."""
SLOPE = 0.2
"""Standard deviation of the weight that one source has beside its share in the mean."""

Doubles = npt.NDArray[np.float64]


class Columns(Protocol):
    """The kernel of N architectures, one column at a time."""

    def __len__(self) -> int: ...

    def column(self, i: int) -> Float:
        """Return the kernel of architecture `i` with all, [N]; 1 with itself."""
        ...


class Posterior:
    """Covariance part of the model; what does not depend on the rewards.

    With unit scale, Cov(x, x') = SLOPE^2 sum_j F_j(x) F_j(x') + (AMPLITUDE^2 + doubt) k(x, x'),
    and NOISE^2 more for a measurement. L is the Cholesky factor of the n observations' covariance,
    V = L^-1 Cov(observed, all). One observation costs O(n N) for N candidates.

    Attributes:
        variance: Of the noiseless value at each candidate for a known offset, [N].
        slack: 1 - V' L^-1 1: how much of an unknown offset is left at each candidate, [N].
    """

    def __init__(self, candidates: Columns, sources: Float, doubt: float = 0.0) -> None:
        """Start without observations.

        Args:
            candidates: The N architectures.
            sources: The smoothed sources F, [J, N], J >= 0.
            doubt: Variance of the true mean source around the mean of F.
        """
        self._own = np.float32(AMPLITUDE**2 + doubt)
        self._candidates = candidates
        self._slopes: Float = np.ascontiguousarray(sources * np.float32(SLOPE))
        self.mean_source: Float = (
            sources.mean(axis=0) if len(sources) else np.zeros(len(candidates), dtype=np.float32)
        )
        self.variance: Float = self._own + (self._slopes * self._slopes).sum(axis=0)
        self.slack: Float = np.ones(len(candidates), dtype=np.float32)
        self.n = 0
        self._rows: Float = np.empty((64, len(candidates)), dtype=np.float32)
        self._factor: Doubles = np.zeros((64, 64))
        self._ones: Doubles = np.zeros(64)
        self._source: Doubles = np.zeros(64)

    def _grow(self) -> None:
        n = self.n
        self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        self._factor = np.pad(self._factor, (0, n))
        self._ones = np.pad(self._ones, (0, n))
        self._source = np.pad(self._source, (0, n))

    def observe(self, i: int) -> None:
        """Take in that candidate `i` has been measured (again)."""
        n = self.n
        if n == len(self._rows):
            self._grow()
        covariance = self._own * self._candidates.column(i)
        if len(self._slopes):
            covariance = covariance + self._slopes[:, i] @ self._slopes
        left = self._rows[:n, i]
        known = left.astype(np.float64)
        pivot = math.sqrt(max(float(covariance[i]) + NOISE**2 - float(known @ known), NOISE**2))
        row = (covariance - left @ self._rows[:n]) * np.float32(1 / pivot)
        self._rows[n] = row
        self._factor[n, :n], self._factor[n, n] = known, pivot
        self._ones[n] = (1.0 - known @ self._ones[:n]) / pivot
        self._source[n] = (float(self.mean_source[i]) - known @ self._source[:n]) / pivot
        self.variance -= row * row
        np.maximum(self.variance, 1e-6, out=self.variance)
        self.slack -= np.float32(self._ones[n]) * row
        self.n = n + 1

    def whiten(self, values: Doubles) -> Doubles:
        """Return L^-1 values, [n]."""
        factor = self._factor[: self.n, : self.n]
        solved: Doubles = solve_triangular(factor, values, lower=True, check_finite=False)
        return solved

    @property
    def ones(self) -> Doubles:
        """L^-1 1, [n]."""
        return self._ones[: self.n]

    @property
    def source(self) -> Doubles:
        """L^-1 m(observed), [n]."""
        return self._source[: self.n]

    def deviation(self) -> Float:
        """Return the standard deviation at each candidate with the offset unknown, [N]."""
        unknown = self.slack * self.slack / np.float32(self.ones @ self.ones)
        deviation: Float = np.sqrt(self.variance + unknown)
        return deviation

    def spread(self, whitened: Doubles) -> Float:
        """Return V' whitened: what whitened residuals say about each candidate, [N]."""
        spread: Float = whitened.astype(np.float32) @ self._rows[: self.n]
        return spread
