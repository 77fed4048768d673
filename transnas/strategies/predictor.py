"""Predictor search: a regression on all results so far, and its expected improvement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError, unknown
from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Space
from transnas.strategies._base import Strategy, positive
from transnas.strategies._draws import Shuffled, listable, mutate, pack, packed, sample, unpack
from transnas.strategies._registry import register

__all__ = ["Predictor", "PredictorSettings", "expected_improvement", "normal_scores", "posterior"]

Floats = npt.NDArray[np.float64]

_LISTED = 20_000
"""Spaces of up to this many architectures are scored as a whole."""
_SAMPLED = 1_000
"""Random architectures whose paths are known."""
_PARENTS = 10
"""Results that mutants descend from, in larger spaces."""


@dataclass(frozen=True)
class PredictorSettings:
    """Settings of predictor search."""

    start: int = 10
    """Results of random architectures before the first prediction."""
    noise: float = 0.1
    """Variance of a result that the predictor does not explain, as a share of the whole."""
    candidates: int = 100
    """Architectures scored a query in spaces too large to be scored as a whole."""
    encoding: str = "one-hot"
    """`one-hot` codes of the choices, or `paths`: which input-output paths there are (BANANAS)."""

    def __post_init__(self) -> None:
        positive("start", self.start)
        positive("candidates", self.candidates)
        if self.encoding not in ENCODINGS:
            raise unknown("setting 'encoding' value", self.encoding, ENCODINGS)
        if not 0 < self.noise < 1:
            raise InputError(f"setting 'noise' is {self.noise}; accepted: between 0 and 1")


@register("predictor")
class Predictor(Strategy):
    """The architecture of largest expected improvement under a regression on all results.

    The predictor is Bayesian linear regression on the choices, their pairs and their triples
    (`posterior`), fitted to the normal scores of the rewards' ranks. The acquisition is maximised
    over all architectures of a space that is small enough, else over mutants of the best results
    and random architectures. What computes the same as an architecture that was asked for is not
    proposed while there is anything else. Failed measurements cost a query only; what is asked
    and not yet told is believed to turn out as predicted.

    Source: the search of White, Neiswanger & Savani, "BANANAS", AAAI 2021. In place of its
    ensemble of neural networks stands the regression, whose posterior is exact: on
    TransNAS-Bench-101 micro, 50 queries, five MLPs found no better cells within the noise, at ten
    times the time a query.
    """

    Settings = PredictorSettings

    def _begin(self) -> None:
        self._order = Shuffled(self.space, self.seed)
        self._seen: set[Architecture] = set()
        self._classes: set[Architecture] = set()
        self._pending: list[Architecture] = []
        self._told: list[Architecture] = []
        self._rewards: list[float] = []

    def ask(self) -> Architecture:
        if len(self._told) < self.settings.start:
            arch = self._order.next(self._seen)
        else:
            arch = self._best_candidate()
        self._see(arch)
        self._pending.append(arch)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._see(arch)
        if arch in self._pending:
            self._pending.remove(arch)
        reward = self.objective.reward(measurement)
        if not isnan(reward):
            self._told.append(arch)
            self._rewards.append(reward)

    def _best_candidate(self) -> Architecture:
        if listable(self.space) and self.space.size <= _LISTED:
            archs, features = listed(self.space, self.settings.encoding)
        else:
            archs = self._candidates()
            features = self._encoded(archs)
        scores = self._acquisition(features)
        ranking: list[int] = np.argsort(-scores, kind="stable").tolist()
        for i in ranking:
            if self.space.canonical(archs[i]) not in self._classes:
                return archs[i]
        return self._order.next(self._seen)

    def _see(self, arch: Architecture) -> None:
        self._seen.add(arch)
        self._classes.add(self.space.canonical(arch))

    def _encoded(self, archs: Sequence[Architecture]) -> Floats:
        return ENCODINGS[self.settings.encoding](self.space, archs)

    def _acquisition(self, features: Floats) -> Floats:
        """Return the expected improvement of each row of `features` [N, width], [N]."""
        parts = len(self.space.choices) + len(self.space.ranges)
        known, targets = self._encoded(self._told), normal_scores(self._rewards)
        if self._pending:
            waiting = self._encoded(self._pending)
            believed, _ = posterior(known, targets, waiting, parts, self.settings.noise)
            known = np.concatenate([known, waiting])
            targets = np.concatenate([targets, believed])
        # The incumbent is what the predictor makes of it: one lucky result is no level to beat.
        level, _ = posterior(known, targets, known, parts, self.settings.noise)
        mean, deviation = posterior(known, targets, features, parts, self.settings.noise)
        return expected_improvement(mean, deviation, float(level.max()))

    def _candidates(self) -> list[Architecture]:
        """Return mutants of the best results, of those once more, and random architectures."""
        best = np.argsort(-np.array(self._rewards), kind="stable")[:_PARENTS].tolist()
        pool: list[Architecture] = []
        for i in range(self.settings.candidates):
            if i % 4 == 3:
                pool.append(sample(self.space, self.stream))
                continue
            arch = mutate(self.space, self._told[best[i % len(best)]], self.stream)
            pool.append(mutate(self.space, arch, self.stream) if i % 4 == 2 else arch)
        return pool

    def state(self) -> dict[str, Any]:
        return {
            "stream": self.stream.position,
            "order": self._order.position,
            "seen": packed(self._seen),
            "pending": [pack(a) for a in self._pending],
            "told": [pack(a) for a in self._told],
            "rewards": list(self._rewards),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        self._order.position = state["order"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}
        self._classes = {self.space.canonical(a) for a in self._seen}
        self._pending = [unpack(self.space, a) for a in state["pending"]]
        self._told = [unpack(self.space, a) for a in state["told"]]
        self._rewards = list(state["rewards"])


@lru_cache(maxsize=4)
def listed(space: Space, encoding: str) -> tuple[list[Architecture], Floats]:
    """Return every architecture of `space` and their encodings [size, width]; cached."""
    archs = list(space.architectures())
    return archs, ENCODINGS[encoding](space, archs)


def encoded(space: Space, archs: Sequence[Architecture]) -> Floats:
    """Return one-hot codes of the choices that matter to the output, and numbers, [N, width]."""
    return space.encode([space.pruned(a) for a in archs]).astype(np.float64)


def by_paths(space: Space, archs: Sequence[Architecture]) -> Floats:
    """Return whether each known path is there, and numbers, [N, width].

    Rows are scaled to the squared length of one-hot rows, so that kernels take either. Paths are
    those of up to 1,000 architectures of the space; a path beyond them is not seen.
    Source: White, Neiswanger & Savani, AAAI 2021, section 4.
    """
    columns = _known_paths(space)
    rows = np.zeros((len(archs), len(columns) + 1))
    for row, arch in zip(rows, archs, strict=True):
        for path in space.paths(arch):
            if path in columns:
                row[columns[path]] = 1.0
    rows[:, -1] = 1.0  # so that a cell without any known path has a length
    lengths = np.sqrt((rows**2).sum(axis=1, keepdims=True))
    rows *= np.sqrt(max(len(space.choices), 1)) / lengths
    numbers = space.encode(archs)[:, space.width - len(space.ranges) :]
    return np.concatenate([rows, numbers], axis=1).astype(np.float64)


@lru_cache(maxsize=4)
def _known_paths(space: Space) -> dict[tuple[str, ...], int]:
    rng = np.random.default_rng(0)
    paths = {path for _ in range(_SAMPLED) for path in space.paths(space.sample(rng))}
    return {path: i for i, path in enumerate(sorted(paths))}


ENCODINGS: Mapping[str, Callable[[Space, Sequence[Architecture]], Floats]] = {
    "one-hot": encoded,
    "paths": by_paths,
}


def normal_scores(rewards: Sequence[float]) -> Floats:
    """Return the normal quantile of each reward's rank (the mean rank for ties), [n].

    Scale and outliers of the rewards then do not matter: a cell that learns nothing is the
    worst, and no further away than that.
    """
    from scipy.stats import norm, rankdata

    scores: Floats = norm.ppf((rankdata(rewards) - 0.5) / len(rewards))
    return scores


def posterior(
    known: Floats, targets: Floats, features: Floats, parts: int, noise: float
) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the regression at each row of `features`, [N].

    `known` [n, width] has `targets` [n]. With s = <x, y> / parts, the share of choices in which
    two architectures agree, linear regression on choices, pairs and triples, with as much
    variance for each, is a Gaussian process with k = (s + s^2 + s^3) / 3.
    """
    from scipy.linalg import cholesky, solve_triangular

    gram = kernel(known @ known.T / parts) + noise * np.eye(len(known))
    factor = cholesky(gram, lower=True)
    shared = kernel(known @ features.T / parts)
    cross = solve_triangular(factor, shared, lower=True, check_finite=False)
    mean = solve_triangular(factor, targets, lower=True) @ cross
    prior = kernel((features**2).sum(axis=1) / parts)
    variance = prior - np.einsum("ij,ij->j", cross, cross)
    return mean, np.sqrt(np.maximum(variance, 1e-12))


def kernel(s: Floats) -> Floats:
    """Return (s + s^2 + s^3) / 3."""
    return s * (1 + s * (1 + s)) / 3


def expected_improvement(mean: Floats, deviation: Floats, best: float) -> Floats:
    """Return E max(f - best, 0) for f ~ N(mean, deviation^2), elementwise.

    Source: Jones, Schonlau & Welch, "Efficient Global Optimization", 1998.
    """
    from scipy.special import ndtr

    z = (mean - best) / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    improvement: Floats = deviation * (z * ndtr(z) + density)
    return improvement
