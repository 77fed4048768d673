"""What models of rewards see of them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["CLIP", "clip_low", "standardised"]

Doubles = npt.NDArray[np.float64]

CLIP = 4.0
"""Rewards lie at most so many distances (best to upper quartile) below the upper quartile."""


def clip_low(rewards: Doubles) -> Doubles:
    """Return the rewards with bad ones raised to a bound, [n].

    Failed-to-learn networks lie many deviations below the others; how far says nothing about
    the good ones. The bound follows the rewards' own scale.
    """
    if len(rewards) < 4:
        return rewards
    ordered = np.sort(rewards)
    place = 0.75 * (len(ordered) - 1)
    low = int(place)
    quartile = ordered[low] + (place - low) * (
        ordered[min(low + 1, len(ordered) - 1)] - ordered[low]
    )
    spread = ordered[-1] - quartile
    if spread <= 0:  # a quarter of the rewards are tied at the top: no scale to go by
        return rewards
    clipped: Doubles = np.maximum(rewards, quartile - CLIP * spread)
    return clipped


def standardised(rewards: Doubles) -> Doubles:
    """Return clipped rewards at mean 0 and deviation 1, [n]; zeros if they are all equal."""
    clipped = clip_low(rewards)
    centred = clipped - clipped.mean()
    spread = float(np.sqrt(np.mean(centred**2)))
    # Below rounding of the rewards themselves there is no spread to speak of.
    if spread <= 1e-12 * max(1.0, float(np.abs(clipped).max())):
        return np.zeros_like(centred)
    scaled: Doubles = centred / spread
    return scaled
