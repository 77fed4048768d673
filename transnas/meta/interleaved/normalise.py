"""Level III: what makes validation losses comparable, and how the tasks' gradients are joined.

Interleaving takes loss weights out of training, not out of this sum: rho_k = 1/K is a choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = ["Balance", "Normaliser", "cosines"]

_EMA = 0.99


@dataclass
class Normaliser:
    """N_k(L) = L / c_k. Rules:

    `chance`: c_k is the loss of the best constant predictor; `initial`: the loss at the first
    step; `ema`: a running mean, so that the gradient is that of log L; `none`: 1; `gradnorm`: the
    norm of the task's gradient.
    """

    rule: str
    chance: Sequence[float | None]
    """The loss of the best constant predictor; None: not known, the first loss stands for it."""
    first: dict[int, float] = field(default_factory=dict)
    mean: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Running sum of losses, and of their weights."""

    def divisor(self, k: int, loss: Tensor) -> float:
        """Return c_k for this loss [] of task k."""
        if self.rule in ("none", "gradnorm"):
            return 1.0
        known = self.chance[k] if self.rule == "chance" else None
        if known is not None:
            return known
        value = float(loss)
        if self.rule == "ema":
            total, weight = self.mean.get(k, (0.0, 0.0))
            total, weight = (_EMA * a + (1 - _EMA) * b for a, b in ((total, value), (weight, 1.0)))
            self.mean[k] = total, weight
            return max(total / weight, 1e-12)
        return max(self.first.setdefault(k, value), 1e-12)

    def gradient(self, gradient: Tensor) -> Tensor:
        """Return a task's gradient [n], of length 1 under `gradnorm`."""
        if self.rule != "gradnorm":
            return gradient
        unit: Tensor = gradient / gradient.norm().clamp_min(1e-12)
        return unit

    def state(self) -> dict[str, Any]:
        """Return what later divisors depend on."""
        return {
            "first": {str(k): v for k, v in self.first.items()},
            "mean": {str(k): list(v) for k, v in self.mean.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.first = {int(k): float(v) for k, v in state["first"].items()}
        self.mean = {int(k): (v[0], v[1]) for k, v in state["mean"].items()}


class Balance:
    """Joins the gradients of K tasks, weighted by rho_k.

    `equal`: their sum. `uncertainty`: learnt weights exp(-s_k), where s_k descends
    exp(-s_k) L_k + s_k (Kendall et al., CVPR 2018). `pcgrad`: each gradient loses its part
    against every other that it conflicts with, in random order (Yu et al., NeurIPS 2020).
    """

    def __init__(self, rule: str, tasks: int, rate: float, seed: int) -> None:
        self.rule = rule
        self.rate = rate
        """Step size of s_k."""
        self.log_variance = [0.0] * tasks
        self._generator = torch.Generator().manual_seed(seed)

    def join(
        self, gradients: dict[int, Tensor], losses: dict[int, float], share: dict[int, float]
    ) -> Tensor:
        """Return the joint gradient [n] of gradients [n] and normalised losses by task."""
        tasks = list(gradients)
        if self.rule == "pcgrad" and len(tasks) > 1:
            gradients = self._without_conflicts(gradients, share)
            share = dict.fromkeys(tasks, 1.0)
        weights = dict(share)
        if self.rule == "uncertainty":
            for k in tasks:
                certainty = float(torch.tensor(-self.log_variance[k]).exp())
                weights[k] = share[k] * certainty
                self.log_variance[k] -= self.rate * share[k] * (1.0 - certainty * losses[k])
        total = weights[tasks[0]] * gradients[tasks[0]]
        for k in tasks[1:]:
            total = total + weights[k] * gradients[k]
        return total

    def _without_conflicts(
        self, gradients: dict[int, Tensor], share: dict[int, float]
    ) -> dict[int, Tensor]:
        given = {k: share[k] * g for k, g in gradients.items()}
        found = {}
        for k, gradient in given.items():
            others = [j for j in given if j != k]
            for i in torch.randperm(len(others), generator=self._generator).tolist():
                other = given[others[i]]
                dot = gradient @ other
                if dot < 0:
                    gradient = gradient - dot / (other @ other) * other
            found[k] = gradient
        return found

    def state(self) -> dict[str, Any]:
        """Return what later joins depend on."""
        return {"log_variance": list(self.log_variance), "generator": self._generator.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.log_variance = [float(s) for s in state["log_variance"]]
        self._generator.set_state(state["generator"])


def cosines(gradients: Sequence[Tensor]) -> list[float]:
    """Return the cosine of each pair i < j of gradients [n]; NaN where one is zero."""
    if len(gradients) < 2:
        return []
    stacked = torch.stack(list(gradients))
    lengths = stacked.norm(dim=1)
    products = stacked @ stacked.T / (lengths[:, None] * lengths[None, :])
    rows, columns = torch.triu_indices(len(stacked), len(stacked), 1)
    found: list[float] = products[rows, columns].tolist()
    return found
