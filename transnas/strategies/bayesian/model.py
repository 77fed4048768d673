"""The Gaussian process: its hyperparameters, and its posterior given them.

y = f(x) + e with f ~ GP(m, k) and e ~ N(0, s^2). With A = K + s^2 I = L L':

    mean(x) = m + k' A^-1 (y - m),    variance(x) = k(x, x) - k' A^-1 k,
    log p(y) = -(y - m)' A^-1 (y - m) / 2 - log|A| / 2 - n log(2 pi) / 2.

The hyperparameters (length-scales, amplitude, noise, mean) are those of greatest posterior
probability, or samples of it. Source: Snoek, Larochelle & Adams, "Practical Bayesian Optimization
of Machine Learning Algorithms", NeurIPS 2012.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from gpytorch.constraints import GreaterThan
from gpytorch.kernels import Kernel
from gpytorch.likelihoods import GaussianLikelihood
from gpytorch.priors import LogNormalPrior
from scipy.optimize import minimize
from torch import Tensor

__all__ = ["Hyperparameters", "Posterior", "slice_samples"]

_log = logging.getLogger(__name__)

Vector = npt.NDArray[np.float64]

_BOUND = 8.0
"""Logarithms of hyperparameters are kept within +- this."""
_LEAST_NOISE, _MOST_NOISE = 1e-6, 1e6
_STEPS = 50
"""L-BFGS steps of one fit."""


class Hyperparameters(torch.nn.Module):
    """The model of some observations as a function of the vector of its hyperparameters."""

    def __init__(self, kernel: Kernel, x: Tensor, y: Tensor) -> None:
        """Take n observations, `x` [n, width] and standardised `y` [n], both float64."""
        super().__init__()
        self.kernel = kernel.double()
        self.likelihood = GaussianLikelihood(
            noise_prior=LogNormalPrior(-3.0, 1.5),
            noise_constraint=GreaterThan(
                _LEAST_NOISE, transform=torch.exp, inv_transform=torch.log, initial_value=0.05
            ),
        ).double()
        self.mean = torch.nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.x, self.y = x, y
        self._flat = list(self.parameters())
        self._logarithms = np.concatenate(
            [
                np.full(p.numel(), float(name.endswith(_LOGARITHMS)))
                for name, p in self.named_parameters()
            ]
        )
        vector: Vector = torch.cat([p.detach().reshape(-1) for p in self._flat]).numpy().copy()
        self.default = vector

    def set(self, vector: Vector) -> None:
        """Give the model these hyperparameters."""
        values, place = torch.from_numpy(np.asarray(vector, dtype=np.float64)), 0
        with torch.no_grad():
            for p in self._flat:
                p.copy_(values[place : place + p.numel()].reshape(p.shape))
                place += p.numel()

    def log_posterior(self, vector: Vector) -> tuple[float, Vector]:
        """Return log p(y | vector) + log p(vector) and its gradient.

        Densities are those of the vector's own scale, so that positive parameters, which it holds
        as logarithms, have the Jacobian of the exponential. Where the covariance is not positive
        definite, the value is -inf and the gradient zero.
        """
        self.set(vector)
        covariance = self.kernel.forward(self.x, self.x)
        identity = torch.eye(len(self.x), dtype=torch.float64)
        factor, failed = torch.linalg.cholesky_ex(covariance + self.likelihood.noise * identity)
        if failed:
            return -math.inf, np.zeros_like(vector)
        residual = (self.y - self.mean)[:, None]
        white = torch.linalg.solve_triangular(factor, residual, upper=False)
        value = -0.5 * (white**2).sum() - factor.diagonal().log().sum()
        value = value - 0.5 * len(self.x) * math.log(2 * math.pi) - 0.5 * self.mean.square().sum()
        for module in (self.kernel, self.likelihood):
            for _, owner, prior, closure, _ in module.named_priors():
                value = value + prior.log_prob(closure(owner)).sum()
        gradients = torch.autograd.grad(value, self._flat)
        gradient = torch.cat([g.reshape(-1) for g in gradients]).numpy()
        return float(value.detach()) + float(self._logarithms @ vector), gradient + self._logarithms

    def maximise(self, starts: Sequence[Vector]) -> Vector:
        """Return the vector of greatest posterior density that L-BFGS reaches.

        It starts from the best of `starts`.
        """

        def negative(vector: Vector) -> tuple[float, Vector]:
            value, gradient = self.log_posterior(vector)
            return (-value, -gradient) if math.isfinite(value) else (1e10, np.zeros_like(vector))

        start = starts[0] if len(starts) == 1 else min(starts, key=lambda v: negative(v)[0])
        found = minimize(
            negative,
            np.clip(start, -_BOUND, _BOUND),
            jac=True,
            method="L-BFGS-B",
            bounds=[(-_BOUND, _BOUND)] * len(start),
            options={"maxiter": _STEPS, "ftol": 1e-5, "gtol": 1e-2},
        )
        best: Vector = found.x
        return best

    def posterior(self, vector: Vector) -> Posterior:
        """Return the posterior given these hyperparameters."""
        self.set(vector)
        with torch.no_grad():
            constant, noise = float(self.mean), float(self.likelihood.noise)
            return Posterior.of(self.kernel, self.x, self.y, constant, noise)


_LOGARITHMS = ("raw_lengthscale", "raw_outputscale", "raw_noise")


@dataclass(frozen=True)
class Posterior:
    """f given n observations, for one vector of hyperparameters.

    There are J alternative sets of values at the same points (one without fantasies).

    Attributes:
        kernel: The covariance function, its hyperparameters as they were (a frozen copy).
        x: The points, [n, width].
        residual: y - m, [n, J].
        factor: L, [n, n].
    """

    kernel: Callable[[Tensor, Tensor], Tensor]
    diagonal: Callable[[Tensor], Tensor]
    constant: float
    noise: float
    x: Tensor
    residual: Tensor
    factor: Tensor

    @classmethod
    def of(cls, kernel: Kernel, x: Tensor, y: Tensor, constant: float, noise: float) -> Posterior:
        """Return the posterior of `y` [n] at `x`; more noise is assumed where A is singular."""
        fixed = deepcopy(kernel).requires_grad_(False)

        def between(a: Tensor, b: Tensor) -> Tensor:
            covariance: Tensor = fixed.forward(a, b)
            return covariance

        def diagonal(a: Tensor) -> Tensor:
            own: Tensor = fixed.forward(a, a, diag=True)
            return own

        factor, used = _factor(between(x, x), noise)
        return cls(between, diagonal, constant, used, x, (y - constant)[:, None], factor)

    def predict(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean [J, N] and the deviation [N] of f at `x` [N, width]."""
        cross = torch.linalg.solve_triangular(self.factor, self.kernel(self.x, x), upper=False)
        white = torch.linalg.solve_triangular(self.factor, self.residual, upper=False)
        variance = self.diagonal(x) - cross.square().sum(0)
        return self.constant + white.T @ cross, variance.clamp_min(1e-14).sqrt()

    def sample(self, x: Tensor, count: int, generator: torch.Generator) -> Tensor:
        """Draw new noisy observations at `x` [P, width] jointly, [P, count]; needs J = 1."""
        cross = torch.linalg.solve_triangular(self.factor, self.kernel(self.x, x), upper=False)
        white = torch.linalg.solve_triangular(self.factor, self.residual, upper=False)
        mean = self.constant + cross.T @ white
        factor, _ = _factor(self.kernel(x, x) - cross.T @ cross, self.noise)
        draws = torch.randn(len(x), count, generator=generator, dtype=x.dtype)
        drawn: Tensor = mean + factor @ draws
        return drawn

    def given(self, x: Tensor, y: Tensor) -> Posterior:
        """Return the posterior that also knows J sets of observations `y` [P, J] at `x`.

        L is extended by P rows; the rows that are there stay.
        """
        cross = torch.linalg.solve_triangular(self.factor, self.kernel(self.x, x), upper=False)
        corner, _ = _factor(self.kernel(x, x) - cross.T @ cross, self.noise)
        n, p = len(self.x), len(x)
        factor = torch.zeros(n + p, n + p, dtype=x.dtype)
        factor[:n, :n], factor[n:, :n], factor[n:, n:] = self.factor, cross.T, corner
        known = self.residual.expand(n, y.shape[1])
        residual = torch.cat([known, y - self.constant])
        return Posterior(
            self.kernel, self.diagonal, self.constant, self.noise,
            torch.cat([self.x, x]), residual, factor,
        )  # fmt: skip

    def incumbents(self) -> Tensor:
        """Return the greatest posterior mean at a known point, [J]; no lucky result counts."""
        return self.predict(self.x)[0].max(dim=1).values


def _factor(covariance: Tensor, noise: float) -> tuple[Tensor, float]:
    """Return the Cholesky factor of covariance + noise I, and the noise that made it possible."""
    identity = torch.eye(len(covariance), dtype=covariance.dtype)
    while noise < _MOST_NOISE:
        factor, failed = torch.linalg.cholesky_ex(covariance + noise * identity)
        if not failed:
            return factor, noise
        noise = max(10 * noise, 1e-6)
        _log.warning("covariance is not positive definite; assuming noise of %.1g", noise)
    raise FloatingPointError("covariance is not finite")


def slice_samples(
    log_density: Callable[[Vector], float],
    start: Vector,
    count: int,
    rng: np.random.Generator,
    width: float = 1.0,
    thin: int = 1,
) -> list[Vector]:
    """Return `count` samples of a density by slice sampling along random directions.

    Each sample is as many updates away from the one before as the density has dimensions, times
    `thin`. Source: Neal, "Slice Sampling", Annals of Statistics, 2003 (stepping out, shrinkage).
    """
    x, samples = np.asarray(start, dtype=np.float64), []
    current = log_density(x)
    for _ in range(count):
        for _ in range(len(x) * thin):
            direction = rng.standard_normal(len(x))
            direction /= np.linalg.norm(direction)
            level = current + math.log(1.0 - rng.random())
            low = -width * rng.random()
            high = low + width
            while log_density(x + low * direction) > level:
                low -= width
            while log_density(x + high * direction) > level:
                high += width
            while True:
                step = low + (high - low) * rng.random()
                value = log_density(x + step * direction)
                if value > level:
                    x, current = x + step * direction, value
                    break
                low, high = (step, high) if step < 0 else (low, step)
        samples.append(x.copy())
    return samples
