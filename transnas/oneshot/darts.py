"""DARTS, first and second order: every edge a softmax mixture of all operations.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from transnas._checkpoints import random_state, restore_random_state
from transnas.networks import Form, Supernet
from transnas.networks.relaxations import Mix, Relaxation, Softmax
from transnas.oneshot._base import Batch, OneShot
from transnas.oneshot._hypergradient import PRODUCTS, Loss, unrolled_gradient
from transnas.oneshot._perturbation import perturbed_shares
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range
from transnas.tasks._text import Continuation

__all__ = ["DARTS", "Bilevel", "DARTSSettings", "SecondOrder"]

SELECTED_ON = 4
"""Validation batches for each removal of a selection by perturbation."""


class Bilevel(OneShot):
    """Logits descend the validation loss, weights the training loss, in turn (section 2.3)."""

    def train_step(self, batch: Batch) -> None:
        """Move the logits on a validation batch if it is their turn, then the weights."""
        every = self.settings.logits_every
        if every and self.step_of_epoch % every == 0 and not self.rests():
            self.architecture_step(self.held_out.next(), batch)
        self.weights_step(batch)

    def end_epoch(self) -> None:
        """Move the logits over the validation split, where they alternate with whole epochs."""
        if self.settings.logits_every == 0 and not self.rests():
            for _ in range(len(self.held_out)):
                self.architecture_step(self.held_out.next(), self.training.next())

    def rests(self) -> bool:
        """Return whether the logits still rest."""
        return bool(self.epoch < self.settings.warm_up)

    def architecture_step(self, validation: Batch, training: Batch) -> None:
        """Move the logits; first order: at the present weights (xi = 0)."""
        self.logits_step(validation)


class SecondOrder(Bilevel):
    """Logits may descend the validation loss after one step of the weights (equation 7).

    For settings with `order` and `product`.
    """

    def form(self) -> Form:
        """Return edges that can be differentiated twice, which the kernel cannot, if need be."""
        exact = self.settings.order == 2 and self.settings.product == "exact"
        return Form(backend="torch" if exact else "auto")

    def architecture_step(self, validation: Batch, training: Batch) -> None:
        """See `_hypergradient`; xi is the weights' present learning rate."""
        if self.settings.order == 1:
            return super().architecture_step(validation, training)
        s, net, (group,) = self.settings, self.net, self.by_weights.param_groups
        gradient, loss = unrolled_gradient(
            self.functional_loss(training, forgets=True),
            self.functional_loss(validation),
            self.weights,
            net.logits,
            step=self.rate(),
            momentum=group["momentum"],
            velocity=[self.by_weights.state[w].get("momentum_buffer") for w in self.weights],
            decay=group["weight_decay"],
            nesterov=group["nesterov"],
            product=PRODUCTS[s.product],
        )
        self.log("supernet_loss", loss)
        net.logits.grad = gradient
        self.by_logits.step()
        return None

    def functional_loss(self, batch: Batch, forgets: bool = False) -> Loss:
        """Return the loss of a batch as a function of weights and logits.

        Every call draws the same noise, so that differences of losses are not those of noise, and
        computes in 32 bits, whatever the precision. If it `forgets`, the state that a language
        model carries on stays as it was.
        """
        own = {id(weight) for weight in self.weights}
        names = [name for name, p in self.net.named_parameters() if id(p) in own]
        noise = {key: g.get_state() for key, g in self.generators.items()}
        overall = random_state(self.at.device)
        inputs, targets = batch
        scoring = _Predictions(self.net)

        def loss(weights: Sequence[Tensor], logits: Tensor) -> Tensor:
            for key, state in noise.items():
                self.generators[key].set_state(state)
            restore_random_state(overall, self.at.device)
            given = {f"net.{name}": w for name, w in zip(names, weights, strict=True)}
            given["net.logits"] = logits
            aims = targets.apart() if forgets and isinstance(targets, Continuation) else targets
            scores, labels = functional_call(scoring, given, (inputs, aims))
            return F.cross_entropy(scores, labels)

        return loss


class _Predictions(nn.Module):
    """`Supernet.predictions` as the call of a module."""

    def __init__(self, net: Supernet) -> None:
        super().__init__()
        self.net = net

    def forward(self, inputs: Tensor, targets: Any) -> tuple[Tensor, Tensor]:
        return self.net.predictions(inputs, targets)


@dataclass(frozen=True)
class DARTSSettings(Settings):
    """As published on CIFAR-10 (there with the supernet of 16 channels and 8 cells)."""

    order: int = 1
    """2: the gradient goes through one step of the weights."""
    product: Literal["exact", "finite-difference"] = "exact"
    """How order 2 multiplies with the second derivatives; published: finite-difference."""

    selection: Literal["strength", "perturbation"] = "strength"
    """`perturbation` keeps the operations whose removal costs the most (`_perturbation`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "order", least=1, most=2)


@register("darts")
class DARTS(SecondOrder):
    """Derives the strongest operations (and, where the space has the choice, edges)."""

    Settings = DARTSSettings

    def relaxation(self) -> Relaxation:
        """See `Softmax`."""
        return Softmax()

    def derive(self) -> Architecture:
        """Select as the settings say; the order of the edges is drawn by the seed."""
        if self.settings.selection == "strength":
            return self.present()

        def accuracy(mix: Mix) -> float:
            return self.mixture_accuracy(mix, islice(self.checks(), SELECTED_ON))

        rng = np.random.default_rng([self.seed, 4])
        return self.net.discretise(perturbed_shares(self.net, accuracy, rng))
