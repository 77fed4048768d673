"""Gaussian-process Bayesian optimisation of choices and numbers together.

**Model.** Rewards, clipped below and standardised, are f(x) + noise with f a Gaussian process
(`model`). Its kernel (`kernels`) compares architectures by their choices or by their paths, and
numbers (a learning rate beside the architecture) by a stationary kernel; amplitude, noise, mean
and length-scales are those of greatest posterior probability, or samples of it.

**Next proposal.** The point of greatest acquisition (`acquisitions`) against the noisy incumbent,
the greatest posterior mean among what was measured. With several hyperparameter samples the
acquisition is averaged over them, not the samples. What is asked and not yet told is imagined
(`worth`): joint draws of its results, the acquisition averaged over them, so that workers keep
apart. Per second, the acquisition is divided by the expected training time, a second process.

**Maximising it.** Spaces of up to 50,000 architectures without numbers are scored as a whole.
Numbers alone: multistart L-BFGS or DIRECT. Otherwise coordinate ascent: steepest steps over the
neighbours of the choices, and after each step the numbers.

Sources: Brochu, Cora & de Freitas, 2010 (tutorial); Snoek, Larochelle & Adams, NeurIPS 2012
(integrated acquisition, fantasies, expected improvement per second). Deviations: fits start from
the previous optimum; slice sampling moves along random directions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError, require, unknown
from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._draws import mutate, sample
from transnas.strategies._history import Remembering
from transnas.strategies._registry import register
from transnas.strategies.bayesian._candidates import is_listable, listed
from transnas.strategies.bayesian._rewards import standardised
from transnas.strategies.settings import check_range

if TYPE_CHECKING:
    from torch import Tensor

    from transnas.strategies.bayesian.encoding import Encoding
    from transnas.strategies.bayesian.model import Posterior, Vector
    from transnas.strategies.bayesian.worth import Worth

__all__ = ["BayesianOptimisation", "BayesianSettings"]

_ACCEPTED = {
    "kernel": ("se", "ard", "matern32", "matern52"),
    "choices": ("hamming", "architecture"),
    "acquisition": ("pi", "ei", "log-ei", "ucb", "gp-ucb"),
    "optimiser": ("multistart", "direct"),
    "hyperparameters": ("map", "marginal"),
}
_STARTS, _STEPS = 2, 4
"""Ascents of a space that is not scored as a whole: best results, as many random ones, steps."""


@dataclass(frozen=True)
class BayesianSettings:
    """Settings of `bo`."""

    start: int = 8
    """Results of random architectures before the first model."""
    kernel: str = "matern52"
    """Of numbers: `se` (one length-scale), `ard` (se, one a number), `matern32`, `matern52`."""
    choices: str = "architecture"
    """Of choices: `hamming`, or `architecture` (choices, path counts and paths)."""
    acquisition: str = "log-ei"
    """`pi`, `ei`, `log-ei`, `ucb` (of a minimised metric the lower bound), or `gp-ucb`, whose
    kappa rises with the number of results; it is large (5 and more), for long searches."""
    trade_off: float = 0.0
    """Exploration: xi of pi, ei and log-ei in deviations of the rewards; kappa of ucb, which
    explores nothing with 0."""
    optimiser: str = "multistart"
    """Of the acquisition over numbers: `multistart` L-BFGS or `direct`."""
    hyperparameters: str = "map"
    """`map`: the most probable; `marginal`: the acquisition averaged over samples."""
    samples: int = 10
    """Hyperparameter samples of `marginal`."""
    fantasies: int = 16
    """Joint draws of pending results."""
    per_second: bool = False
    """Divide the acquisition by the expected seconds of the measurement."""

    def __post_init__(self) -> None:
        for name, accepted in _ACCEPTED.items():
            if getattr(self, name) not in accepted:
                raise unknown(f"setting {name!r} value", getattr(self, name), accepted)
        check_range(self, "start", "samples", "fantasies", least=1)
        check_range(self, "trade_off", least=0)
        if self.acquisition == "gp-ucb" and self.trade_off != 0.0:
            raise InputError(
                f"setting 'trade_off' is {self.trade_off!r}; accepted with acquisition gp-ucb: 0"
            )
        if self.per_second and self.acquisition not in ("ei", "log-ei"):
            raise InputError("setting 'per_second' is True; accepted with acquisition: ei, log-ei")


@register("bo")
class BayesianOptimisation(Remembering):
    """Gaussian-process Bayesian optimisation; see the module for the method.

    Failed, NaN and infinite measurements only rule their architecture out. No isomorphism class
    is proposed twice while there is another. Needs the extra `bo`.
    """

    Settings = BayesianSettings

    def _begin(self) -> None:
        require("strategy 'bo'", "gpytorch", "bo")
        super()._begin()
        self._seconds: list[float] = []
        self._fitted = _Fitted(0, [], [])

    # Asking and telling ---------------------------------------------------------------------

    def _next(self) -> Architecture:
        found = None if len(self._told) < self.settings.start else self._best()
        return found or self._order.next(self._seen)

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        super().tell(arch, measurement)
        if len(self._told) > len(self._seconds):  # it has a reward
            self._seconds.append(float(measurement.cost.seconds))

    def _class(self, arch: Architecture) -> Architecture:
        """Return the representative of `arch`'s class; other numbers are another class."""
        return Architecture(arch.space, self.space.canonical(arch).values, arch.numbers)

    # The model ------------------------------------------------------------------------------

    @property
    def _encoding(self) -> Encoding:
        from transnas.strategies.bayesian.encoding import encoding_of

        return encoding_of(self.space, self.settings.choices == "architecture")

    def _worth(self) -> Worth:
        """Return the acquisition, with hyperparameters that fit what was told."""
        import torch

        from transnas.strategies.bayesian.worth import Worth, with_pending

        rng = self.stream.generator()
        generator = torch.Generator().manual_seed(self.stream.bits() >> 1)
        encoding, x = self._encoding, self._encoding.rows(self._told)
        y = torch.from_numpy(standardised(np.array(self._rewards)))
        old = self._fitted
        new = old.told != len(self._told)
        vectors, posteriors = self._fit(x, y, old.vectors, new, rng, self.settings.hyperparameters)
        cost, cost_vectors = None, old.cost
        if self.settings.per_second:
            seconds = torch.from_numpy(np.log(np.maximum(self._seconds, 1e-9)))
            level = float(seconds.mean())
            cost_vectors, costs = self._fit(x, seconds - level, old.cost, new, rng, "map")
            cost = costs[0]
        self._fitted = _Fitted(len(self._told), vectors, cost_vectors)
        pending = encoding.rows(self._pending) if self._pending else x[:0]
        imagined = with_pending(posteriors, pending, self.settings.fantasies, generator)
        return Worth(imagined, *self._acquisition(), cost)

    def _acquisition(self) -> tuple[str, float]:
        """Return the acquisition for this query, and its trade-off."""
        from transnas.strategies.bayesian.acquisitions import gp_ucb_weight

        if self.settings.acquisition == "gp-ucb":
            dimensions = len(self.space.choices) + len(self.space.ranges)
            return "ucb", gp_ucb_weight(len(self._told), dimensions)
        return self.settings.acquisition, self.settings.trade_off

    def _fit(
        self,
        x: Tensor,
        y: Tensor,
        old: list[Vector],
        refit: bool,
        rng: np.random.Generator,
        how: str,
    ) -> tuple[list[Vector], list[Posterior]]:
        """Return hyperparameters, starting from `old` ones, and the posterior of each."""
        from transnas.strategies.bayesian.kernels import build
        from transnas.strategies.bayesian.model import Hyperparameters, slice_samples

        kernel = build(self._encoding, self.settings.kernel, self.settings.choices)
        model = Hyperparameters(kernel, x, y)
        vectors = old
        if refit and how == "map":
            drawn = [model.default + 0.7 * rng.standard_normal(len(model.default)) for _ in "1234"]
            vectors = [model.maximise([*old, model.default] if old else [model.default, *drawn])]
        elif refit:
            begin = old[-1] if old else model.maximise([model.default])
            vectors = slice_samples(
                lambda v: model.log_posterior(v)[0], begin, self.settings.samples, rng
            )
        return vectors, [model.posterior(v) for v in vectors]

    # Maximising the acquisition -------------------------------------------------------------

    def _best(self) -> Architecture | None:
        worth = self._worth()
        if is_listable(self.space):
            return self._best_listed(worth)
        if not self.space.choices:
            arch = self._with_numbers(self._told[0], worth)
            return arch if self._is_new(arch) else None
        return self._best_climbed(worth)

    def _best_listed(self, worth: Worth) -> Architecture | None:
        from transnas.strategies.bayesian.optimisers import exhaustive

        archs, rows = _table(self._encoding)
        free = np.array([arch not in self._classes for arch in archs], dtype=np.bool_)
        found = exhaustive(worth, rows, free)
        return None if found is None else archs[found]

    def _best_climbed(self, worth: Worth) -> Architecture | None:
        import torch

        from transnas.strategies.bayesian.optimisers import climb

        def score(archs: Sequence[Architecture]) -> list[float]:
            with torch.no_grad():
                scores: list[float] = worth(self._encoding.rows(archs)).tolist()
            return scores

        order = np.argsort(-np.array(self._rewards), kind="stable")
        pool = [self._told[i] for i in order[:_STARTS].tolist()]
        pool += [mutate(self.space, arch, self.stream) for arch in list(pool) for _ in range(8)]
        pool += [sample(self.space, self.stream) for _ in range(8 * _STARTS)]
        ranked = [pool[i] for i in np.argsort([-s for s in score(pool)], kind="stable").tolist()]
        starts = list(dict.fromkeys(ranked))[:_STARTS]

        def improve(arch: Architecture) -> Architecture:
            return self._with_numbers(arch, worth, locally=True) if self.space.ranges else arch

        best = climb(self.space, score, improve, starts, self._is_new, _STEPS)
        if best is None or not self.space.ranges:
            return best
        polished = self._with_numbers(best, worth)
        before, after = score([best, polished])
        return polished if after > before and self._is_new(polished) else best

    def _with_numbers(
        self, arch: Architecture, worth: Worth, locally: bool = False
    ) -> Architecture:
        """Return `arch` with the numbers of greatest worth, or with better ones near by."""
        import torch

        from transnas.strategies.bayesian.optimisers import ascent, direct, multistart

        ranges = self.space.ranges
        row = self._encoding.rows([arch])
        fixed, own = row[:, : -len(ranges)], row[:, -len(ranges) :]

        def surface(u: Tensor) -> Tensor:
            return worth(torch.cat([fixed.expand(len(u), -1), u], dim=1))

        if locally:
            best = ascent(surface, own)
        elif self.settings.optimiser == "direct":
            best = direct(surface, len(ranges))
        else:
            starts = torch.cat([own, self._encoding.rows(self._told)[:, -len(ranges) :]])
            best = multistart(surface, len(ranges), self.stream.bits() >> 33, starts)
        numbers = (
            min(max(r.from_unit(float(u)), r.low), r.high)
            for r, u in zip(ranges, best, strict=True)
        )
        return Architecture(self.space.name, arch.values, tuple(numbers))

    # State ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        own = {"seconds": list(self._seconds), "fitted": self._fitted.to_json()}
        return {**super().state(), **own}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._seconds = list(state["seconds"])
        self._fitted = _Fitted.from_json(state["fitted"])


@dataclass(frozen=True)
class _Fitted:
    """Hyperparameters, and of how many results they are; the next fit starts from them."""

    told: int
    vectors: list[npt.NDArray[np.float64]]
    cost: list[npt.NDArray[np.float64]]

    def to_json(self) -> list[Any]:
        return [self.told, [v.tolist() for v in self.vectors], [v.tolist() for v in self.cost]]

    @classmethod
    def from_json(cls, data: list[Any]) -> _Fitted:
        told, vectors, cost = data
        return cls(told, [np.array(v) for v in vectors], [np.array(v) for v in cost])


@lru_cache(maxsize=4)
def _table(encoding: Encoding) -> tuple[tuple[Architecture, ...], Tensor]:
    """Return one architecture of each class of a listable space, and their encodings; cached."""
    archs = listed(encoding.space).archs
    return archs, encoding.rows(archs)
