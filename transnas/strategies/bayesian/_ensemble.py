"""Gaussian processes over all candidates, one observation after another, at O(n N) each.

With unit scale, y = b + S (g + e), g ~ GP(0, k) and e ~ N(0, noise). The offset b is flat and S
has the prior 1 / S, so both are integrated out. Several noises stand side by side; each has its
evidence, and what is averaged is the acquisition (integrated over the noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.linalg import solve_triangular

__all__ = ["Evidence", "Incremental"]

Float = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """What n rewards say under one noise: the mean is offset + scale V' white.

    `log` is log p(rewards | noise) up to a constant.
    """

    log: float
    scale: float
    white: Float


class Incremental:
    """The part of one process that does not depend on the rewards.

    L is the Cholesky factor of the n observations' covariance, V = L^-1 Cov(observed, all).
    """

    def __init__(self, candidates: int, noise: float) -> None:
        self.noise = noise
        self.n = 0
        self.variance: Float = np.ones(candidates, dtype=np.float32)
        self.slack: Float = np.ones(candidates, dtype=np.float32)  # 1 - V' L^-1 1
        self._rows: Float = np.empty((64, candidates), dtype=np.float32)
        self._factor: Doubles = np.zeros((64, 64))
        self._ones: Doubles = np.zeros(64)
        self._log_determinant = 0.0

    def observe(self, i: int, column: Float) -> None:
        """Take in that candidate `i` was measured; `column` is its kernel with all, [N]."""
        n = self.n
        if n == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
            self._factor = np.pad(self._factor, (0, n))
            self._ones = np.pad(self._ones, (0, n))
        left = self._rows[:n, i]
        known = left.astype(np.float64)
        own = float(column[i]) + self.noise
        pivot = math.sqrt(max(own - float(known @ known), self.noise))
        row = (column - left @ self._rows[:n]) * np.float32(1 / pivot)
        self._rows[n] = row
        self._factor[n, :n], self._factor[n, n] = known, pivot
        self._ones[n] = (1.0 - known @ self._ones[:n]) / pivot
        self._log_determinant += 2 * math.log(pivot)
        self.variance -= row * row
        np.maximum(self.variance, 1e-6, out=self.variance)
        self.slack -= np.float32(self._ones[n]) * row
        self.n = n + 1

    def weigh(self, rewards: Doubles) -> Evidence:
        """Return the evidence of the n `rewards`."""
        factor, ones = self._factor[: self.n, : self.n], self._ones[: self.n]
        precision = float(ones @ ones)
        white = solve_triangular(factor, rewards, lower=True, check_finite=False)
        free = white - float(ones @ white) / precision * ones
        squares = max(float(free @ free), 1e-24)
        freedom = max(self.n - 1, 1)
        log = -0.5 * (
            self._log_determinant + math.log(precision) + freedom * math.log(squares / freedom)
        )
        scale = math.sqrt(squares / freedom)
        return Evidence(log, scale, (free / scale).astype(np.float32))

    def predict(self, white: Float) -> tuple[Float, Float]:
        """Return mean without offset and deviation at every candidate in units of S, [N] each."""
        ones = self._ones[: self.n]
        unknown = self.slack * self.slack / np.float32(ones @ ones)
        deviation: Float = np.sqrt(self.variance + unknown)
        mean: Float = white @ self._rows[: self.n]
        return mean, deviation
