"""SNAS: architectures drawn from a concrete distribution, one loss for weights and logits alike.

Xie et al., "SNAS: Stochastic Neural Architecture Search", ICLR 2019. Minimises
E_Z [L(Z)] + eta E_Z [C(Z)] on training data alone; C is the number of parameters of the operations,
or of their multiply-adds.
Deviation: the release drops a mixed edge whole, here its operations are dropped one by one, and
identities never.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.networks.relaxations import Concrete, Relaxation
from transnas.oneshot._base import Batch, OneShot, geometric
from transnas.oneshot._costs import COSTS, Counted, expected_cost
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.strategies.settings import check_range

__all__ = ["SNAS", "SNASSettings"]


@dataclass(frozen=True)
class SNASSettings(Settings):
    """As released for CIFAR-10."""

    epochs: int = 150
    first_temperature: float = 1.0
    last_temperature: float = 0.03
    """The temperature falls exponentially from epoch to epoch."""
    drop_path: float = 0.3
    """Probability, in every epoch, of dropping an operation of a mixed edge for one sample."""
    resource: float = 0.0
    """eta, the weight of the expected cost; costs are relative to the dearest architecture."""
    cost: Counted = "parameters"
    """What an architecture costs: `parameters`, or `flops` (multiply-adds of one image)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "first_temperature", "last_temperature", least=1e-6)
        check_range(self, "drop_path", least=0, below=1)
        check_range(self, "resource", least=0)
        if self.cost != "parameters" and self.resource == 0.0:
            raise InputError(
                f"setting 'cost' is {self.cost!r} with resource 0, in which no cost counts; "
                "accepted: parameters, or resource above 0"
            )
        check_range(self, "logits_every", least=1, below=2)  # one loss moves weights and logits


@register("snas")
class SNAS(OneShot):
    """Derives the most probable operations."""

    Settings = SNASSettings

    def begin(self) -> None:
        """Also look up what the operations cost, relative to the dearest architecture."""
        super().begin()
        if self.settings.resource > 0.0:
            costs = COSTS[self.settings.cost](self.net)
            self.costs = costs / costs.max(dim=1).values.sum()

    def relaxation(self) -> Relaxation:
        """See `Concrete`."""
        self.sampler = Concrete(
            self.settings.first_temperature, self.generator("architecture noise")
        )
        return self.sampler

    def begin_epoch(self) -> None:
        """Cool down, and set the rate of dropping."""
        s = self.settings
        self.net.drop(path=s.drop_path)
        self.sampler.temperature = geometric(
            s.first_temperature, s.last_temperature, self.epochs_done
        )

    def train_step(self, batch: Batch) -> None:
        """Move the weights, and logits that do not rest, down the same loss (equations 6, 13)."""
        loss, accuracy = self.loss(batch)
        self.log("train_loss", loss)
        self.log("train_accuracy", accuracy)
        if self.settings.resource > 0.0:
            loss = loss + self.settings.resource * self.cost()
        self.by_weights.zero_grad(set_to_none=True)
        self.by_logits.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=[*self.weights, *self.net.architecture_parameters()])
        torch.nn.utils.clip_grad_norm_(self.weights, self.settings.gradient_clip)
        self.move_weights()
        if self.epoch >= self.settings.warm_up:
            self.by_logits.step()

    def cost(self) -> Tensor:
        """Return E[C], which is linear in the probabilities."""
        probabilities = self.net.logits.masked_fill(self.net.missing, -math.inf).softmax(dim=1)
        return expected_cost(probabilities, self.costs)
