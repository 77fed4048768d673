"""Differentiable methods: how the shared logits become the edge weights of a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from transnas.networks.relaxations import Concrete, Relaxation, Softmax, StraightThrough

__all__ = ["METHODS", "Method"]


@dataclass(frozen=True, slots=True)
class Method:
    """A relaxation, and how its temperature falls."""

    make: Callable[[torch.Generator], Relaxation]
    """Called once a task with a generator of its own."""
    samples: bool = False
    """Whether edge weights are drawn anew in every step."""
    temperatures: tuple[float, float] = (1.0, 1.0)
    """Temperature of the first and the last iteration; it falls linearly."""

    def cool(self, relaxation: Relaxation, done: float) -> None:
        """Set the temperature for this share of the search."""
        first, last = self.temperatures
        if isinstance(relaxation, (Concrete, StraightThrough)):
            relaxation.temperature = first + (last - first) * done


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "darts": Method(lambda generator: Softmax()),
        "snas": Method(lambda generator: Concrete(1.0, generator), True, (1.0, 0.1)),
        "gdas": Method(lambda generator: StraightThrough(10.0, generator), True, (10.0, 0.1)),
    }
)
