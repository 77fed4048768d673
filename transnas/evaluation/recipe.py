"""`Recipe`: how a network is trained."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

from transnas._checks import check_range, check_types
from transnas._errors import InputError, unknown

__all__ = ["Recipe", "half_cosine"]

_SCHEDULES = ("cosine", "constant")
_PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class Recipe:
    """SGD with Nesterov momentum and a cosine schedule, as NAS-Bench-201 and DARTS train."""

    epochs: int = 12
    """Epochs when an evaluation names no budget."""
    batch_size: int = 64
    """Images a step."""
    learning_rate: float = 0.1
    """Highest learning rate, reached after the warm-up."""
    warmup: float = 0.1
    """Share of the steps in which the learning rate rises linearly."""
    momentum: float = 0.9
    """Nesterov momentum."""
    weight_decay: float = 5e-4
    """Decay of weights; scales, shifts and biases are left alone."""
    label_smoothing: float = 0.1
    """Share of the target spread over all classes."""
    gradient_clip: float = 5.0
    """Largest norm of a step's gradient; inf: any."""
    drop_path: float = 0.0
    """Largest share of dropped paths, approached linearly by step (ScheduledDropPath)."""
    cutout: int = 0
    """Side of a square of pixels that is zeroed in every image; 0: none."""
    auxiliary: float = 0.0
    """Weight of the loss of a network's second classifier; 0: the network has none."""
    augment: bool = True
    """Whether images are moved and mirrored as the task says."""
    schedule: str = "cosine"
    """How the learning rate goes on after the warm-up: `cosine` (to 0) or `constant`."""
    average_after: int = 0
    """Epochs without a better validation loss after which weights are averaged; 0: never, as in
    final trainings, which have no validation data."""
    precision: str = "auto"
    """`32-true`, `bf16-mixed` or `16-mixed`; auto: bf16-mixed on a GPU, else 32-true."""

    def __post_init__(self) -> None:
        check_types(Recipe, vars(self), what="recipe field")
        check = partial(check_range, self, what="recipe field")
        check("epochs", least=1)
        check("batch_size", least=2)
        check("learning_rate", "weight_decay", "auxiliary", "average_after", "cutout", least=0)
        check("warmup", "momentum", "label_smoothing", least=0, most=1)
        check("drop_path", least=0, most=0.99)
        if self.gradient_clip <= 0:
            raise InputError(
                f"recipe field 'gradient_clip' is {self.gradient_clip}; accepted: above 0 (inf: "
                "gradients stay as they are)"
            )
        if self.schedule not in _SCHEDULES:
            raise unknown("schedule", self.schedule, _SCHEDULES)
        if self.precision not in _PRECISIONS:
            raise unknown("precision", self.precision, _PRECISIONS)

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of `step` of `steps`: linear warm-up, then the schedule."""
        rising = max(1, round(self.warmup * steps)) if self.warmup else 0
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        if self.schedule == "constant":
            return self.learning_rate
        done = (step - rising) / max(1, steps - rising)
        return half_cosine(self.learning_rate, 0.0, done)


def half_cosine(first: float, last: float, done: float) -> float:
    """Return the value at `done` in 0..1 of half a cosine between two ends."""
    return last + (first - last) * 0.5 * (1 + math.cos(math.pi * done))
