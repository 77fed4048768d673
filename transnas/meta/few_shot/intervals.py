"""95% intervals of a mean accuracy over episodes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Interval", "class_interval", "episode_interval"]

Floats = npt.NDArray[np.float64]
_RESAMPLES = 2000


class Interval(NamedTuple):
    """A mean and the ends of its 95% interval."""

    mean: float
    low: float
    high: float

    @property
    def half(self) -> float:
        """Half of the interval's length, the published plus-minus."""
        return (self.high - self.low) / 2


def episode_interval(accuracies: Floats) -> Interval:
    """Return mean +- 1.96 s / sqrt(n) over episodes, s the sample deviation.

    It is about the draw of episodes only, not about other trainings or other classes. (Published
    code divides by n in s^2; at 600 episodes the ratio is 0.9992.)
    """
    mean, count = float(accuracies.mean()), len(accuracies)
    half = 1.96 * float(accuracies.std(ddof=1)) / count**0.5 if count > 1 else float("nan")
    return Interval(mean, mean - half, mean + half)


def class_interval(classes: npt.NDArray[np.int64], accuracies: Floats, seed: int = 0) -> Interval:
    """Return the percentile bootstrap over test classes; both arguments are [episodes, way].

    Episodes share a few test classes, so they are less independent than `episode_interval` takes
    them to be. A resampled class brings all its appearances along.
    """
    found, which = np.unique(classes, return_inverse=True)
    sums = np.bincount(which.ravel(), accuracies.ravel(), len(found))
    counts = np.bincount(which.ravel(), minlength=len(found)).astype(np.float64)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(found), np.full(len(found), 1 / len(found)), _RESAMPLES)
    low, high = np.percentile((weights @ sums) / (weights @ counts), [2.5, 97.5])
    return Interval(float(accuracies.mean()), float(low), float(high))
