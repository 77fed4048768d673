"""How far the sources are to be trusted: agreeing, irrelevant or reversed, weighed by evidence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from transnas.meta.store._posterior import Posterior
from transnas.strategies.bayesian import clip_low

__all__ = ["Hypothesis", "weigh"]

Doubles = npt.NDArray[np.float64]

RELATIONS = ((1.0, 0.98), (0.0, 0.01), (-1.0, 0.01))
"""Coefficient s of the mean source, and its probability before the first measurement."""
NEGLIGIBLE = 1e-3
"""A relation with less probability is left out of the acquisition."""


@dataclass(frozen=True)
class Hypothesis:
    """One relation between target and sources.

    Under it, the mean at a candidate is `scale * relation * m + V' residual`, up to a constant that
    improvements do not depend on, and deviations are multiplied by `scale`. `residual` [n] is
    whitened.
    """

    relation: float
    probability: float
    scale: float
    residual: Doubles


def weigh(posterior: Posterior, rewards: Doubles, relations: int) -> list[Hypothesis]:
    """Return the relations that the rewards leave credible, with the scale of each.

    y = b + S (s m(x) + ...) with b flat and T = 1/S. With whitened and b-free y~ and m~,
    a = |y~|^2, c = y~'m~, d = |m~|^2 and f = n - 1 degrees of freedom, the log-likelihood is
    f log T - (a T^2 - 2 s c T + s^2 d) / 2. Its maximum over T is closed: T = (s c +
    sqrt(s^2 c^2 + 4 a f)) / 2a; the evidence is Laplace's approximation in log T.

    Args:
        posterior: With n observations, n >= 1.
        rewards: Of the n observations, [n].
        relations: How many of `RELATIONS` to weigh: all, or 1 without sources.
    """
    ones, source = posterior.ones, posterior.source
    precision = float(ones @ ones)
    start = float(rewards[0])
    whitened = posterior.whiten(clip_low(rewards) - start)

    def without_offset(v: Doubles) -> Doubles:
        return v - float(ones @ v) / precision * ones

    free_rewards, free_source = without_offset(whitened), without_offset(source)
    a = max(float(free_rewards @ free_rewards), 1e-24)
    c, d = float(free_rewards @ free_source), float(free_source @ free_source)
    freedom = max(posterior.n - 1, 1)
    s = np.array([relation for relation, _ in RELATIONS[:relations]])
    inverse = (s * c + np.sqrt((s * c) ** 2 + 4 * a * freedom)) / (2 * a)
    evidence = freedom * np.log(inverse) - 0.5 * (a * inverse**2 - 2 * s * c * inverse + s * s * d)
    curvature = 2 * a * inverse**2 - s * c * inverse
    evidence -= 0.5 * np.log(np.maximum(curvature, 1e-9))
    evidence += np.log([probability for _, probability in RELATIONS[:relations]])
    weights = np.exp(evidence - evidence.max())
    weights /= weights.sum()

    found = []
    for relation, weight, scale in zip(s.tolist(), weights.tolist(), 1 / inverse, strict=True):
        if weight <= NEGLIGIBLE:
            continue
        residual = without_offset(whitened - float(scale) * relation * source)
        found.append(Hypothesis(relation, weight, float(scale), residual))
    return found
