"""Averages of weights that start when training stops getting better: NT-ASGD.

Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", ICLR 2018, algorithm 1.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["Averaging"]


class Averaging:
    """The mean of the weights over all steps since the trigger; none before it.

    The trigger: a checked loss is above the least of those more than `patience` checks ago.
    """

    def __init__(self, weights: Sequence[Tensor], patience: int) -> None:
        self.weights = list(weights)
        self.patience = patience
        self.losses: list[float] = []
        self.steps = 0
        self.means: list[Tensor] = []

    @property
    def started(self) -> bool:
        """Whether there is an average."""
        return bool(self.means)

    def check(self, loss: float) -> None:
        """Take in the validation loss of an epoch, and start averaging if it says so."""
        earlier = self.losses[: max(0, len(self.losses) - self.patience)]
        if not self.started and earlier and loss > min(earlier):
            self.means = [w.detach().clone() for w in self.weights]
            self.steps = 1
        self.losses.append(loss)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        if self.started:
            self.steps += 1
            for mean, weight in zip(self.means, self.weights, strict=True):
                mean.lerp_(weight, 1 / self.steps)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average in the place of the weights inside, if there is one."""
        if not self.started:
            yield
            return
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def settle(self) -> None:
        """Leave the average as the weights, if there is one."""
        if self.started:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for mean, weight in zip(self.means, self.weights, strict=True):
            kept = weight.clone()
            weight.copy_(mean)
            mean.copy_(kept)
