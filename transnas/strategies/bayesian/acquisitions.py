"""What a measurement at x is worth, from the model's mean and standard deviation there.

Maximisation throughout: f ~ N(mean, deviation^2) at x, f+ is the incumbent (`incumbent`), and
Z = (mean - f+ - xi) / deviation with the trade-off xi. All functions work elementwise on tensors of
any one shape. Source: Brochu, Cora & de Freitas, "A Tutorial on Bayesian Optimization", 2010;
log-EI: Ament et al., "Unexpected Improvements to Expected Improvement for Bayesian
Optimization", NeurIPS 2023.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

__all__ = [
    "ACQUISITIONS",
    "Acquisition",
    "expected_improvement",
    "gp_ucb_weight",
    "integrated",
    "log_expected_improvement",
    "log_improvement",
    "probability_of_improvement",
    "upper_confidence_bound",
]

Acquisition = Callable[[Tensor, Tensor, Tensor, float], Tensor]
"""(mean, deviation, incumbent, trade-off) -> value, greater is better."""

_FAR = 1e4
"""Beyond this |Z|, the asymptote of log h(Z) is closer than what cancellation leaves."""
_LEAST = 1e-12
"""Deviations are taken to be at least this, so that a known value has the limit's worth."""


def probability_of_improvement(
    mean: Tensor, deviation: Tensor, incumbent: Tensor, trade_off: float
) -> Tensor:
    """Return PI = Phi(Z). Source: Kushner, 1964."""
    z = (mean - incumbent - trade_off) / deviation.clamp_min(_LEAST)
    return _cumulative(z)


def expected_improvement(
    mean: Tensor, deviation: Tensor, incumbent: Tensor, trade_off: float
) -> Tensor:
    """Return EI = deviation (phi(Z) + Z Phi(Z)). Source: Jones, Schonlau & Welch, 1998."""
    deviation = deviation.clamp_min(_LEAST)
    z = (mean - incumbent - trade_off) / deviation
    return deviation * (_density(z) + z * _cumulative(z))


def log_expected_improvement(
    mean: Tensor, deviation: Tensor, incumbent: Tensor, trade_off: float
) -> Tensor:
    """Return log EI, finite and with useful gradients however small EI is."""
    deviation = deviation.clamp_min(_LEAST)
    z = (mean - incumbent - trade_off) / deviation
    return deviation.log() + log_improvement(z)


def upper_confidence_bound(
    mean: Tensor, deviation: Tensor, incumbent: Tensor, trade_off: float
) -> Tensor:
    """Return mean + kappa deviation with kappa = `trade_off`; the incumbent does not matter.

    For a metric that is minimised this is the lower confidence bound, as rewards are negated.
    """
    return mean + trade_off * deviation


def gp_ucb_weight(results: int, dimensions: int, chance: float = 0.1) -> float:
    """Return GP-UCB's kappa for the query that follows so many results (from 1).

    kappa = sqrt(tau), tau = 2 log(t^(d / 2 + 2) pi^2 / (3 chance)): so much exploration that, but
    for a `chance`, the mean regret vanishes. Source: Srinivas et al., "Gaussian Process
    Optimization in the Bandit Setting", ICML 2010, as in the tutorial of Brochu et al.
    """
    growth = (dimensions / 2 + 2) * math.log(results)
    return math.sqrt(2 * (growth + math.log(math.pi**2 / (3 * chance))))


ACQUISITIONS: Mapping[str, Acquisition] = {
    "pi": probability_of_improvement,
    "ei": expected_improvement,
    "log-ei": log_expected_improvement,
    "ucb": upper_confidence_bound,
}


def log_improvement(z: Tensor) -> Tensor:
    """Return log h(z), h(z) = phi(z) + z Phi(z), without underflow for any z."""
    near = z.clamp_min(-1.0)
    plain = (_density(near) + near * _cumulative(near)).log()
    # phi(z) (1 - sqrt(pi / 2) |z| erfcx(|z| / sqrt 2)); the bracket tends to 1 / z^2.
    low = z.clamp_max(-1.0).abs()
    tail = math.sqrt(math.pi / 2) * low * torch.special.erfcx(low / math.sqrt(2))
    exact = torch.log1p(-tail.clamp_max(1 - 1e-15))
    bracket = torch.where(low > _FAR, -2 * low.log(), exact)
    tailed = -0.5 * low**2 - 0.5 * math.log(2 * math.pi) + bracket
    return torch.where(z > -1.0, plain, tailed)


def integrated(values: Tensor, name: str) -> Tensor:
    """Return the acquisition `name` averaged over the first dimension of `values` [S, ...].

    The dimension holds hyperparameter samples and fantasies. What is averaged is the acquisition
    itself, so the logarithm of EI is averaged as EI.
    """
    if name == "log-ei":
        return torch.logsumexp(values, dim=0) - math.log(len(values))
    return values.mean(dim=0)


def _cumulative(z: Tensor) -> Tensor:
    value: Tensor = torch.special.ndtr(z)
    return value


def _density(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
