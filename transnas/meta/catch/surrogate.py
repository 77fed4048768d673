"""Virtual tasks from few rows of many tasks: a model is fitted, and tasks are drawn from it.

Where each earlier task has one or two trained networks, none allows a search of its own. A
Gaussian process over all rows together says what networks are good on such tasks, and how much
tasks differ; CATCH then trains on draws from it. Real trainings used are the rows; virtual tasks
cost nothing, and whoever reports results says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve, cholesky
from scipy.optimize import minimize

from transnas._errors import InputError
from transnas.evaluation._benchmarks import provided_arrays
from transnas.meta.catch.coding import Codes
from transnas.meta.catch.families import Evaluate, Floats, TaskFamily
from transnas.spaces import Architecture, Space
from transnas.strategies.bayesian import Kernel, describe

__all__ = ["Rows", "SurrogateFamily"]

_LARGEST = 20_000
_JITTER = 1e-3
_WORST = 15.0
"""Rewards this far below the median (percent accuracy) say no more than that."""


@dataclass(frozen=True)
class Rows:
    """Known results: row i is the reward [n] of architecture [n] (class number) on task [n]."""

    architecture: npt.NDArray[np.int64]
    task: npt.NDArray[np.int64]
    reward: Floats


@dataclass(frozen=True)
class Variances:
    """Variances of what all tasks share, of a task's level, of what is its own, and of noise."""

    shared: float
    level: float
    own: float
    noise: float


class SurrogateFamily(TaskFamily):
    """Tasks drawn from a model of rows: reward_ij = b + f(x_j) + u_i + g_i(x_j) + e.

    f and g_i are Gaussian processes with the kernel of the store transfer, u_i the level of task
    i, e noise; the four variances maximise the marginal likelihood of a replicate's own rows. A
    virtual task is one joint posterior draw of f, a fresh draw of g and fresh noise. Isomorphic
    architectures share a value. Takes spaces of at most 20,000 architectures.
    """

    def __init__(self, space: Space, rows: dict[int, Rows], source: str) -> None:
        self.space = space
        self.rows = rows
        self.source = source
        self._classes = classes_of(space)
        self._fitted: dict[int, Posterior] = {}

    @classmethod
    def of_metad2a(cls, space: Space, seeds: Sequence[int], rows: int = 500) -> SurrogateFamily:
        """Return the family of `rows` rows of MetaD2A's ImageNet subsets, other ones a seed.

        Rows are drawn without replacement from all 4,630. Raises `InputError` without the data.
        """
        arrays = provided_arrays("metad2a_nb201_tasks.npz")
        number = classes_of(space).number
        classes = np.array([number(space.at(int(i)).values) for i in arrays["arch_index"]])
        found = {}
        for seed in seeds:
            drawn = np.random.default_rng(seed).choice(len(classes), size=rows, replace=False)
            values = arrays["acc"][drawn].astype(np.float64)
            clipped = np.maximum(values, np.median(values) - _WORST)
            found[seed] = Rows(classes[drawn], arrays["task"][drawn].astype(np.int64), clipped)
        return cls(space, found, f"metad2a, {rows} rows")

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        generators = [np.random.default_rng([seed, epoch]) for seed in seeds]
        posteriors = [self._posterior(seed) for seed in seeds]
        values = np.stack([p.virtual_task(g) for p, g in zip(posteriors, generators, strict=True)])
        sd = np.sqrt([p.variances.noise for p in posteriors])

        def rewards(codes: Codes) -> Floats:
            chosen = [self._classes.number(tuple(row)) for row in codes.tolist()]
            noise = np.array([g.standard_normal() for g in generators])
            return np.asarray(values[np.arange(len(codes)), chosen] + sd * noise)

        return rewards

    def describe(self) -> dict[str, Any]:
        return {"kind": "surrogate", "source": self.source}

    def _posterior(self, seed: int) -> Posterior:
        if seed not in self._fitted:
            self._fitted[seed] = Posterior(self.rows[seed], self._classes)
        return self._fitted[seed]


class Classes:
    """The isomorphism classes of a space, their kernel, and a square root of it."""

    def __init__(self, space: Space) -> None:
        if space.size > _LARGEST:
            raise InputError(
                f"space {space.name!r} has {space.size} architectures; a surrogate family "
                f"accepts: at most {_LARGEST}"
            )
        self.space = space

    @cached_property
    def _numbers(self) -> dict[tuple[int, ...], int]:
        first: dict[tuple[int, ...], int] = {}
        return {
            a.values: first.setdefault(self.space.canonical(a).values, len(first))
            for a in self.space.architectures()
        }

    @cached_property
    def kernel(self) -> Floats:
        """Return the kernel between all classes, [C, C] float64."""
        seen: dict[int, tuple[int, ...]] = {}
        for values, number in self._numbers.items():
            seen.setdefault(number, values)
        archs = [Architecture(self.space.name, seen[i]) for i in range(len(seen))]
        features = describe(self.space, archs)
        found: Floats = Kernel(features).between(features, features).astype(np.float64)
        return found

    @cached_property
    def root(self) -> npt.NDArray[np.float32]:
        """Return a lower triangular L with L L' the kernel, [C, C] float32."""
        jittered = self.kernel + _JITTER * np.eye(len(self.kernel))
        root: npt.NDArray[np.float32] = cholesky(jittered, lower=True).astype(np.float32)
        return root

    def number(self, codes: tuple[int, ...]) -> int:
        """Return the class number of an architecture."""
        return self._numbers[codes]


@lru_cache(maxsize=2)
def classes_of(space: Space) -> Classes:
    """Return the classes of `space`; kept, because the kernel takes seconds and 200 MB."""
    return Classes(space)


class Posterior:
    """The model of one replicate's rows; keeps two matrices of n x n, nothing of the space's size.

    `variances` are those of the largest marginal likelihood.
    """

    def __init__(self, rows: Rows, classes: Classes) -> None:
        self.rows = rows
        self.classes = classes
        self._centred = rows.reward - rows.reward.mean()
        kernel = classes.kernel[np.ix_(rows.architecture, rows.architecture)]
        same = (rows.task[:, None] == rows.task[None, :]).astype(np.float64)
        self.variances = _fit(kernel, same, self._centred)
        unshared = _unshared(self.variances, kernel, same)
        self._unshared_root = cholesky(unshared, lower=True)
        self._factor = cho_factor(self.variances.shared * kernel + unshared, lower=True)

    def virtual_task(self, rng: np.random.Generator) -> Floats:
        """Return the mean reward of every class on one virtual task, [C].

        Matheron's rule: a draw of f from the prior, moved by what it and its drawn noise miss of
        the rows, is a draw from the posterior. The task's own part g is drawn afresh.
        """
        draws = rng.standard_normal((len(self.classes.root), 2)).astype(np.float32)
        shared, own = (self.classes.root @ draws).T.astype(np.float64)
        shared *= np.sqrt(self.variances.shared)
        noise = self._unshared_root @ rng.standard_normal(len(self._centred))
        missed = self._centred - shared[self.rows.architecture] - noise
        weights = cho_solve(self._factor, missed)
        by_class = np.bincount(self.rows.architecture, weights, minlength=len(shared))
        moved: Floats = shared + self.variances.shared * (self.classes.kernel @ by_class)
        moved += np.sqrt(self.variances.own) * own
        return moved


def _unshared(v: Variances, kernel: Floats, same: Floats) -> Floats:
    """Return the covariance of what is not f, [n, n]; `same` is 1 where two rows share a task."""
    covariance: Floats = same * (v.level + v.own * kernel)
    covariance += v.noise * np.eye(len(covariance))
    return covariance


def _fit(kernel: Floats, same: Floats, centred: Floats) -> Variances:
    """Return the variances of the largest marginal likelihood of centred rewards [n]."""
    total = centred.var()

    def negative(logs: npt.NDArray[np.float64]) -> float:
        # Limits keep a variance that the rows say nothing about from running away.
        v = Variances(*(total * np.exp(np.clip(logs, -8, 2))))
        covariance = v.shared * kernel + _unshared(v, kernel, same)
        try:
            factor = cholesky(covariance, lower=True, check_finite=False)
        except np.linalg.LinAlgError:
            return 1e12
        alpha = cho_solve((factor, True), centred, check_finite=False)
        return float(0.5 * centred @ alpha + np.log(np.diag(factor)).sum())

    start = np.log([0.4, 0.2, 0.1, 0.3])
    # Corners a factor of e apart: the default simplex is too small to find its way.
    simplex = np.vstack([start, start + np.eye(4)])
    options = {"maxfev": 200, "xatol": 0.05, "fatol": 0.05, "initial_simplex": simplex}
    logs = minimize(negative, start, method="Nelder-Mead", options=options).x
    return Variances(*(total * np.exp(np.clip(logs, -8, 2))).tolist())
