"""The expected improvement over many candidates, for models that are plain arrays, and ties."""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

__all__ = ["any_of", "expected_improvement"]

Arrays = TypeVar("Arrays", npt.NDArray[np.float32], npt.NDArray[np.float64])


def expected_improvement(gain: Arrays, deviation: Arrays) -> Arrays:
    """Return E[max(0, f)] for f ~ N(gain, deviation^2), elementwise and in the precision given.

    `gain` is the posterior mean less the incumbent; deviations are > 0.
    Source: Jones, Schonlau & Welch, "Efficient Global Optimization", 1998.
    """
    z = gain / deviation
    density = np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    improvement: Arrays = deviation * (z * ndtr(z) + density)
    return improvement


def any_of(positions: npt.NDArray[np.int64], rng: np.random.Generator) -> int:
    """Return one of the candidates at these positions, each as likely as any other."""
    return int(positions[rng.integers(len(positions))])
