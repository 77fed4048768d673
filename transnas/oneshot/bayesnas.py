"""BayesNAS: switches on operations under a sparse prior that depends on their edge.

Zhou et al., "BayesNAS: A Bayesian Approach for Neural Architecture Search", ICML 2019. A switch s
multiplies each operation but `none`; its prior is N(0, gamma). Laplace's approximation gives a
reweighted lasso and, with the Hessian's diagonal H, the update (one a search in the release, here
one after each pair of epochs):

    C = 1 / (1 / gamma + H / lambda)
    omega = sqrt(|1 / gamma - C / gamma^2|)
    gamma = |s| / omega

An operation needs its edge: 1 / gamma_child = 1 / gamma + 1 / gamma_edge. Deviations: an edge's
gamma is that of its switches as one group; H comes from differentiation, on a batch of validation
data, in place of the release's recursion through layers on training data, which has no negative
values; switches move by Adam at 0.01 in place of SGD at 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transnas.networks import Form
from transnas.networks.relaxations import Mix, Relaxation
from transnas.oneshot._base import Batch, OneShot
from transnas.oneshot._hessian import hessian_product
from transnas.oneshot._indicators import is_absent, operations
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings, require_steady_logits
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["BayesNAS", "BayesSettings", "dependent", "reweighted"]

_TINY = 1e-12
_PRUNED = 0.0585
"""gamma below which a switch's entropy ln(2 pi e gamma) / 2 is negative."""


@dataclass(frozen=True)
class BayesSettings(Settings):
    """As released, with as many rounds as `epochs` has pairs."""

    epochs: int = 2
    batch_size: int = 18
    learning_rate: float = 0.1
    weight_decay: float = 1e-4
    logits_learning_rate: float = 0.01
    """Of the switches."""
    logits_decay: float = 0.0
    sparsity: float = 0.01
    """lambda, the weight of the reweighted lasso."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "epochs", least=2)
        check_range(self, "sparsity", least=1e-12)
        require_steady_logits(self)


@register("bayesnas")
class BayesNAS(OneShot):
    """Derives the operations of largest variance; an edge whose switches are all pruned is none."""

    Settings = BayesSettings

    def begin(self) -> None:
        """Set all switches to 1; what computes nothing has none, and stays 0."""
        super().begin()
        self.live = ~self.net.missing
        for row, code, operation in operations(self.net):
            self.live[row, code] = not is_absent(operation.name)
        with torch.no_grad():
            self.net.logits.copy_(self.live.to(self.net.logits))
        self.gamma = torch.ones_like(self.net.logits, requires_grad=False)
        self.omega = torch.ones_like(self.gamma)

    def form(self) -> Form:
        """Return edges that have second derivatives, for the Hessian's diagonal."""
        return Form(backend="torch")

    def relaxation(self) -> Relaxation:
        """Return the switches themselves."""
        return lambda logits: Mix(torch.where(self.live, logits, 0.0))

    def train_step(self, batch: Batch) -> None:
        """Move weights in even epochs, switches in odd ones, on training data."""
        if self.epoch % 2 == 0:
            self.weights_step(batch)
            return
        loss, accuracy = self.loss(batch)
        self.log("train_loss", loss)
        self.log("supernet_accuracy", accuracy)
        switches = torch.where(self.live, self.net.logits, 0.0)
        self.descend_logits(loss + self.settings.sparsity * (self.omega * switches).abs().sum())

    def end_epoch(self) -> None:
        """Update the prior's variances after an epoch of the switches."""
        if self.epoch % 2 == 0:
            return
        switches = self.net.logits.detach()
        curvature = self.curvature()
        gamma, self.omega = reweighted(switches, self.gamma, curvature, self.settings.sparsity)
        self.gamma = torch.where(self.live, dependent(gamma), 0.0).clamp_min(_TINY)

    def curvature(self) -> Tensor:
        """Return the diagonal of the loss's Hessian in the switches, [edges, operations]."""
        loss, _ = self.loss(next(self.checks()))
        logits = self.net.logits
        product = hessian_product(loss, logits)
        unit = torch.eye(logits.numel(), device=logits.device)
        diagonal = [product(unit[i])[i] if on else unit[i, i] * 0 for i, on in self._numbered()]
        return torch.stack(diagonal).view_as(logits)

    def _numbered(self) -> list[tuple[int, bool]]:
        return list(enumerate(self.live.flatten().tolist()))

    def shares(self) -> Tensor:
        """Return the variances as parts of the largest sum of an edge, so that edges compare too.

        Pruned ones come after all others; an edge of these alone is `none` where it may be.
        """
        if not self.net.logits.isfinite().all():
            return self.net.shares()  # which says so
        gamma = torch.where(self.live, self.gamma, 0.0).double()
        without = ~self.live & ~self.net.missing
        nothing = (gamma <= _PRUNED).all(dim=1, keepdim=True) & without
        worth = torch.where(gamma > _PRUNED, gamma, gamma * _TINY).masked_fill(nothing, _TINY)
        shares: Tensor = (worth / worth.sum(dim=1).max()).cpu()
        return shares

    def present(self) -> Architecture:
        """Return the architecture of the largest shares."""
        return self.net.discretise(self.shares())

    def state(self) -> dict[str, Any]:
        """See `OneShot.state`."""
        return {**super().state(), "gamma": self.gamma, "omega": self.omega}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `OneShot.restore`."""
        super().restore(state)
        self.gamma, self.omega = (state[k].to(self.at.device) for k in ("gamma", "omega"))


def reweighted(
    switches: Tensor, gamma: Tensor, curvature: Tensor, sparsity: float
) -> tuple[Tensor, Tensor]:
    """Return the next gamma and omega, of the shape of all arguments.

    1 / gamma - C / gamma^2 is h / (1 + gamma h) with h = H / lambda: no digits are lost where
    gamma is small. Its absolute value is for curvature below 0.
    """
    h = curvature / sparsity
    omega = (h / (1 + gamma * h)).abs().sqrt().clamp_min(_TINY)
    return switches.abs() / omega, omega


def dependent(gamma: Tensor) -> Tensor:
    """Return the variances [edges, operations] of operations that need their edge.

    An edge's variance is the norm of its operations' variances.
    """
    edge = gamma.norm(dim=1, keepdim=True).clamp_min(_TINY)
    child: Tensor = 1 / (1 / gamma.clamp_min(_TINY) + 1 / edge)
    return child
