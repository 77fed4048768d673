"""An earlier study, smoothed into an opinion about every architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from transnas._errors import InputError
from transnas.spaces import Architecture, Space

__all__ = ["SmoothedSource", "SourceTask", "distinct", "normal_scores", "smooth"]

Doubles = npt.NDArray[np.float64]

NOISES = (0.05, 0.1, 0.2, 0.35, 0.6, 0.9)
"""Shares of a source's variance that may be noise; the evidence chooses."""
MOST_OBSERVATIONS = 1_000
"""Longer studies are thinned to so many architectures."""


@dataclass(frozen=True)
class SourceTask:
    """One earlier study: what was measured on one task, at one budget.

    `rewards` [n] are greater-is-better in a unit of the source's own; NaN marks a failure.
    """

    name: str
    architectures: Sequence[Architecture]
    rewards: Sequence[float] | Doubles


@dataclass(frozen=True)
class SmoothedSource:
    """F(x) = sum_i weights_i k(x, architectures_i): a Gaussian process mean over the space.

    `noise` is the share of the scores' variance that was taken for noise.
    """

    name: str
    architectures: tuple[Architecture, ...]
    weights: Doubles
    noise: float


def distinct(space: Space, source: SourceTask) -> tuple[list[Architecture], Doubles]:
    """Return the canonical architectures with a finite reward, and the mean reward of each.

    Raises `InputError` if there are not as many rewards as architectures.
    """
    rewards = np.asarray(source.rewards, dtype=np.float64)
    if rewards.shape != (len(source.architectures),):
        raise InputError(
            f"source {source.name!r} has {len(source.architectures)} architectures and rewards "
            f"of shape {rewards.shape}; accepted: one reward an architecture"
        )
    found: dict[Architecture, list[float]] = {}
    for arch, reward in zip(source.architectures, rewards.tolist(), strict=True):
        if np.isfinite(reward):
            found.setdefault(space.canonical(arch), []).append(reward)
    return list(found), np.array([np.mean(values) for values in found.values()])


def normal_scores(rewards: Doubles) -> Doubles:
    """Return the normal quantile of each rank (ties share the mean rank), [n].

    Sources in percent, in losses or on skewed scales become comparable.
    """
    values, inverse, counts = np.unique(rewards, return_inverse=True, return_counts=True)
    if len(values) == 1:
        return np.zeros(len(rewards))
    ranks = np.cumsum(counts) - (counts - 1) / 2.0
    scores: Doubles = ndtri((ranks[inverse] - 0.5) / len(rewards))
    return scores


def thin(rewards: Doubles) -> npt.NDArray[np.int64]:
    """Return which of many observations to keep: the best, and others evenly over the ranks."""
    order = np.argsort(-rewards, kind="stable")
    half = MOST_OBSERVATIONS // 2
    if len(order) <= MOST_OBSERVATIONS:
        return np.arange(len(order))
    spread = np.linspace(half, len(order) - 1, MOST_OBSERVATIONS - half).astype(np.int64)
    return np.sort(order[np.concatenate([np.arange(half), spread])])


def smooth(gram: npt.NDArray[np.floating], scores: Doubles) -> tuple[Doubles, float]:
    """Fit scores = c + f(x) + e, f ~ GP(0, (1 - v) k), e ~ N(0, v), up to a common scale.

    The constant c has a flat prior, the scale is profiled out, and v is the value of `NOISES`
    with the greatest restricted likelihood. A source without structure gets much noise and
    therefore a nearly flat mean.

    Args:
        gram: Kernel of the observed architectures, [n, n], n >= 3.
        scores: Observations, [n].

    Returns:
        Weights [n] of E[f(x)] = sum_i weights_i k(x, x_i), and v.
    """
    eigenvalues, vectors = np.linalg.eigh(gram.astype(np.float64))
    ones, rotated = vectors.sum(axis=0), vectors.T @ scores
    best = (-np.inf, np.zeros(len(scores)), NOISES[-1])
    for noise in NOISES:
        spectrum = (1 - noise) * np.maximum(eigenvalues, 0.0) + noise
        precision = (ones * ones / spectrum).sum()
        residual = rotated - (ones * rotated / spectrum).sum() / precision * ones
        square = max(float((residual * residual / spectrum).sum()), 1e-12)
        freedom = len(scores) - 1
        evidence = -0.5 * (freedom * np.log(square) + np.log(spectrum).sum() + np.log(precision))
        if evidence > best[0]:
            best = (evidence, (1 - noise) * (vectors @ (residual / spectrum)), noise)
    return best[1], best[2]
