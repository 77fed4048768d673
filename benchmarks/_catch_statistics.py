"""Means and intervals over replicates of searches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def interval(values: Floats, draws: int = 10_000) -> list[float]:
    """Return mean and 95 % interval of values [replicates, searches], replicates resampled."""
    means = values.mean(axis=1)
    rng = np.random.default_rng(0)
    rows = rng.integers(len(means), size=(draws, len(means)))
    low, high = np.quantile(means[rows].mean(axis=1), (0.025, 0.975))
    return [float(means.mean()), float(low), float(high)]


def summary(values: Floats) -> list[float]:
    """Return mean, 95 % interval and standard deviation of values [replicates, searches]."""
    return [*interval(values), float(values.std())]
