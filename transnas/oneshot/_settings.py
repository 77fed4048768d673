"""`Settings`: how a supernet is trained, common to all one-shot methods."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from transnas._errors import InputError
from transnas.evaluation.recipe import half_cosine
from transnas.strategies.settings import check_range, check_types

__all__ = ["Settings", "require_steady_logits"]


@dataclass(frozen=True)
class Settings:
    """The defaults are those of DARTS on CIFAR-10; each method states where it differs."""

    epochs: int = 50
    batch_size: int = 64
    """Images a step, of training and of validation data each."""
    learning_rate: float = 0.025
    """Of the weights at first (SGD); half a cosine leads to `least_learning_rate`."""
    least_learning_rate: float = 0.001
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    """Largest norm of the weights' gradient in a step."""
    logits_learning_rate: float = 3e-4
    """Of the architecture's logits (Adam)."""
    logits_beta: float = 0.5
    """First beta of that Adam; the second is 0.999."""
    logits_decay: float = 1e-3
    logits_from: int = 0
    """Epochs of warm-up in which the logits rest."""
    logits_every: int = 1
    """Steps of the weights for one of the logits; 0: after each epoch, a pass over validation."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    """`32-true`, or `bf16-mixed` to compute in half precision, but for gradients of order 2, whose
    second derivatives its rounding spoils."""

    def __post_init__(self) -> None:
        check_types(type(self), vars(self))
        check_range(self, "epochs", least=1)
        check_range(self, "batch_size", least=2)
        check_range(self, "logits_from", "logits_every", least=0)
        check_range(self, "learning_rate", "least_learning_rate", "logits_learning_rate", least=0)
        check_range(self, "weight_decay", "logits_decay", least=0)
        check_range(self, "gradient_clip", above=0)
        check_range(self, "momentum", "logits_beta", least=0, below=1)
        if self.nesterov and self.momentum == 0:
            raise InputError(
                f"setting 'momentum' is {self.momentum!r}; accepted: above 0 with nesterov true"
            )
        if self.warm_up >= self.epochs:
            raise InputError(
                f"epochs is {self.epochs}, in which no logits are learnt with logits_from "
                f"{self.logits_from}; accepted: whole numbers from {self.warm_up + 1}"
            )

    @property
    def warm_up(self) -> int:
        """Epochs until the logits are learnt."""
        return self.logits_from

    def rate(self, done: float) -> float:
        """Return the learning rate of the weights when this share of the steps is done."""
        return half_cosine(self.learning_rate, self.least_learning_rate, done)


def require_steady_logits(settings: Settings) -> None:
    """Raise `InputError` for a warm-up or a pace of the logits, for methods that have neither."""
    for name, only in (("logits_from", 0), ("logits_every", 1)):
        value = getattr(settings, name)
        if value != only:
            raise InputError(f"setting {name!r} is {value!r}; accepted: {only}")
