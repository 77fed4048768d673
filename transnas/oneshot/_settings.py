"""`Settings`: how a supernet is trained, common to all one-shot methods."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from transnas._errors import InputError
from transnas.evaluation.recipe import half_cosine

__all__ = ["Settings", "require"]


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
    """`32-true`, or `bf16-mixed` to compute in half precision."""

    def __post_init__(self) -> None:
        _require_literals(self)
        require(self, ("epochs",), 1)
        require(self, ("batch_size",), 2)
        require(self, ("logits_from", "logits_every"), 0)
        positive = ("learning_rate", "gradient_clip", "logits_learning_rate")
        require(self, (*positive, "least_learning_rate", "weight_decay", "logits_decay"), 0.0)
        require(self, ("momentum", "logits_beta"), 0.0, 1.0)
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


def _require_literals(settings: Settings) -> None:
    """Raise `InputError` unless settings of literal values have one of these."""
    for name, kind in get_type_hints(type(settings)).items():
        value = getattr(settings, name)
        if get_origin(kind) is Literal and value not in get_args(kind):
            accepted = ", ".join(map(str, get_args(kind)))
            raise InputError(f"setting {name!r} is {value!r}; accepted: {accepted}")


def require(
    settings: object, names: tuple[str, ...], least: float, below: float = math.inf
) -> None:
    """Raise `InputError` unless these settings are at least `least` and below `below`.

    They are whole numbers where `least` is one.
    """
    for name in names:
        value = getattr(settings, name)
        whole = isinstance(least, int)
        right = isinstance(value, int if whole else (int, float)) and not isinstance(value, bool)
        if not right or not least <= value < below:
            kind = "whole numbers" if whole else "numbers"
            limit = "" if below == math.inf else f" and below {below:g}"
            raise InputError(f"{name} is {value!r}; accepted: {kind} from {least:g}{limit}")
