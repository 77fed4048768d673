"""Predictor search: a regression on all results so far, and its expected improvement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import unknown
from transnas.spaces import Architecture, Space
from transnas.strategies._draws import listable, mutate, sample
from transnas.strategies._history import Remembering
from transnas.strategies._improvement import expected_improvement
from transnas.strategies._registry import register
from transnas.strategies.settings import check_range

__all__ = ["Predictor", "PredictorSettings", "Regression", "normal_scores"]

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
        check_range(self, "start", "candidates", least=1)
        if self.encoding not in ENCODINGS:
            raise unknown("setting 'encoding' value", self.encoding, ENCODINGS)
        check_range(self, "noise", above=0, below=1)


@register("predictor")
class Predictor(Remembering):
    """The architecture of largest expected improvement under a regression on all results.

    The predictor is Bayesian linear regression on the choices, their pairs and their triples
    (`Regression`), fitted to the normal scores of the rewards' ranks. The acquisition is maximised
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
        super()._begin()
        self._regression: Regression | None = None

    def _next(self) -> Architecture:
        if len(self._told) < self.settings.start:
            return self._order.next(self._seen)
        return self._best_candidate()

    def _best_candidate(self) -> Architecture:
        if listable(self.space) and self.space.size <= _LISTED:
            archs, features = listed(self.space, self.settings.encoding)
            if self._regression is None:
                self._regression = self._regression_over(features)
            regression = self._regression
        else:
            archs = self._candidates()
            regression = self._regression_over(self._encoded(archs))
        scores = self._acquisition(regression)
        ranking: list[int] = np.argsort(-scores, kind="stable").tolist()
        for i in ranking:
            if self._is_new(archs[i]):
                return archs[i]
        return self._order.next(self._seen)

    def _encoded(self, archs: Sequence[Architecture]) -> Floats:
        return ENCODINGS[self.settings.encoding](self.space, archs)

    def _regression_over(self, candidates: Floats) -> Regression:
        parts = len(self.space.choices) + len(self.space.ranges)
        return Regression(candidates, parts, self.settings.noise)

    def _acquisition(self, regression: Regression) -> Floats:
        """Return the expected improvement of each of the regression's candidates [N], [N]."""
        if len(regression) < len(self._told):
            regression.extend(self._encoded(self._told[len(regression) :]))
        targets = normal_scores(self._rewards)
        if self._pending:
            waiting = self._encoded(self._pending)
            targets = np.concatenate([targets, regression.at(waiting, targets)])
            regression = regression.believing(waiting)
        # The incumbent is what the predictor makes of it: one lucky result is no level to beat.
        level = float(regression.at_known(targets).max())
        mean, deviation = regression.at_candidates(targets)
        return expected_improvement(mean - level, deviation)

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

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._regression = None


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


class Regression:
    """Bayesian linear regression on choices, pairs and triples, seen at fixed candidates.

    With s = <x, y> / parts, the share of choices in which two architectures agree, linear
    regression on choices, pairs and triples, with as much variance for each, is a Gaussian
    process with k = (s + s^2 + s^3) / 3. Of n results and N candidates it keeps L, the Cholesky
    factor of the results' covariance, and L^-1 k(results, candidates), so that another result
    costs O(n N) and no system is solved twice.
    """

    def __init__(self, candidates: Floats, parts: int, noise: float) -> None:
        """Take the `candidates` [N, width]; `noise` is the variance of a result."""
        self._candidates, self._parts, self._noise = candidates, parts, noise
        self._rows = np.empty((0, candidates.shape[1]))
        self._gram = np.empty((0, 0))
        self._factor = np.empty((0, 0))
        self._cross = np.empty((64, len(candidates)))
        self._variance: Floats = kernel((candidates**2).sum(axis=1) / parts)

    def __len__(self) -> int:
        return len(self._rows)

    def extend(self, rows: Floats) -> None:
        """Take in that the architectures `rows` [m, width] were measured."""
        from scipy.linalg import solve_triangular

        for row in rows:
            n = len(self)
            if n == len(self._cross):
                self._cross = np.concatenate([self._cross, np.empty_like(self._cross)])
            shared = kernel(self._rows @ row / self._parts)
            own = kernel(row @ row / self._parts)
            left = solve_triangular(self._factor, shared, lower=True) if n else shared
            pivot = np.sqrt(max(own + self._noise - left @ left, 1e-12))
            new = kernel(self._candidates @ row / self._parts) - left @ self._cross[:n]
            self._cross[n] = new / pivot
            self._factor = _bordered(self._factor, np.zeros(n), left, pivot)
            self._gram = _bordered(self._gram, shared, shared, own)
            self._rows = np.concatenate([self._rows, row[None]])
            self._variance = self._variance - self._cross[n] ** 2

    def believing(self, rows: Floats) -> Regression:
        """Return this regression with the architectures `rows` measured too; use it at once.

        It shares memory with this one, until this one is extended.
        """
        other = copy(self)
        other.extend(rows)
        return other

    def at_candidates(self, targets: Floats) -> tuple[Floats, Floats]:
        """Return mean and standard deviation at every candidate given `targets` [n], [N] each."""
        from scipy.linalg import solve_triangular

        white = solve_triangular(self._factor, targets, lower=True)
        return white @ self._cross[: len(self)], np.sqrt(np.maximum(self._variance, 1e-12))

    def at_known(self, targets: Floats) -> Floats:
        """Return the mean at what was measured, [n]."""
        mean: Floats = self._gram @ self._solved(targets)
        return mean

    def at(self, rows: Floats, targets: Floats) -> Floats:
        """Return the mean at `rows` [m, width], [m]."""
        mean: Floats = kernel(rows @ self._rows.T / self._parts) @ self._solved(targets)
        return mean

    def _solved(self, targets: Floats) -> Floats:
        from scipy.linalg import cho_solve

        solved: Floats = cho_solve((self._factor, True), targets)
        return solved


def _bordered(square: Floats, column: Floats, row: Floats, corner: float) -> Floats:
    """Return [[square, column], [row, corner]]."""
    return np.block([[square, column[:, None]], [row[None], np.array([[corner]])]])


def kernel(s: Any) -> Any:
    """Return (s + s^2 + s^3) / 3."""
    return s * (1 + s * (1 + s)) / 3
