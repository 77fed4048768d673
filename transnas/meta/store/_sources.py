"""An earlier study, smoothed into an opinion about every architecture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from transnas._errors import InputError
from transnas.spaces import Architecture, Space

__all__ = ["SmoothedSource", "SourceTask", "best_first", "distinct", "normal_scores", "smooth"]

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

    `architectures` are the canonical ones that were measured, best first; `scores` are their
    normal scores among all that the study measured, also those that were thinned out.
    `noise` is the share of the scores' variance that was taken for noise; `doubt` is the variance
    that f keeps at an architecture of the space, on average.
    """

    name: str
    architectures: tuple[Architecture, ...]
    scores: Doubles
    weights: Doubles
    noise: float
    doubt: float


def distinct(space: Space, source: SourceTask) -> tuple[list[Architecture], Doubles]:
    """Return the canonical architectures with a finite reward, and the mean reward of each.

    Raises `InputError` if there are not as many rewards as architectures, or for an architecture
    of another space.
    """
    rewards = np.asarray(source.rewards, dtype=np.float64)
    if rewards.shape != (len(source.architectures),):
        raise InputError(
            f"source {source.name!r} has {len(source.architectures)} architectures and rewards "
            f"of shape {rewards.shape}; accepted: one reward an architecture"
        )
    found: dict[Architecture, list[float]] = {}
    for arch, reward in zip(source.architectures, rewards.tolist(), strict=True):
        if arch.space != space.name:
            raise InputError(
                f"source {source.name!r} has an architecture of space {arch.space!r}; accepted: "
                f"{space.name!r}"
            )
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


def best_first(rewards: Doubles) -> npt.NDArray[np.int64]:
    """Return the positions of the observations to keep, from the best to the worst.

    Of more than `MOST_OBSERVATIONS`, the best half of that number and others evenly over ranks.
    """
    order = np.argsort(-rewards, kind="stable")
    if len(order) <= MOST_OBSERVATIONS:
        return order
    half = MOST_OBSERVATIONS // 2
    spread = np.linspace(half, len(order) - 1, MOST_OBSERVATIONS - half).astype(np.int64)
    kept: npt.NDArray[np.int64] = order[np.concatenate([np.arange(half), spread])]
    return kept


def smooth(
    gram: npt.NDArray[np.floating[Any]], cross: npt.NDArray[np.floating[Any]], scores: Doubles
) -> tuple[Doubles, float, float]:
    """Fit scores = c + f(x) + e, f ~ GP(0, (1 - v) k), e ~ N(0, v), up to a common scale.

    The constant c has a flat prior, the scale is profiled out, and v is the value of `NOISES`
    with the greatest restricted likelihood. A source without structure gets much noise and
    therefore a nearly flat mean.

    Args:
        gram: Kernel of the observed architectures, [n, n], n >= 3.
        cross: Kernel of a sample of the space with the observed architectures, [r, n].
        scores: Observations, [n].

    Returns:
        Weights [n] of E[f(x)] = sum_i weights_i k(x, x_i), v, and the mean variance of f over
        the sample for unit scale.
    """
    eigenvalues, vectors = np.linalg.eigh(gram.astype(np.float64))
    ones, rotated = vectors.sum(axis=0), vectors.T @ scores
    best, best_evidence = NOISES[-1], -np.inf
    for noise in NOISES:
        spectrum, residual, precision = _fit(eigenvalues, ones, rotated, noise)
        square = max(float((residual * residual / spectrum).sum()), 1e-12)
        evidence = -0.5 * (
            (len(scores) - 1) * np.log(square) + np.log(spectrum).sum() + np.log(precision)
        )
        if evidence > best_evidence:
            best, best_evidence = noise, evidence
    spectrum, residual, _ = _fit(eigenvalues, ones, rotated, best)
    weights = (1 - best) * (vectors @ (residual / spectrum))
    explained = (1 - best) * ((cross @ vectors) ** 2 / spectrum).sum(axis=1).mean()
    return weights, best, float((1 - best) * max(1 - explained, 0.0))


def _fit(
    eigenvalues: Doubles, ones: Doubles, rotated: Doubles, noise: float
) -> tuple[Doubles, Doubles, float]:
    """Return the covariance's spectrum, the residual in its basis, and the precision of c."""
    spectrum = (1 - noise) * np.maximum(eigenvalues, 0.0) + noise
    precision = float((ones * ones / spectrum).sum())
    return spectrum, rotated - (ones * rotated / spectrum).sum() / precision * ones, precision
