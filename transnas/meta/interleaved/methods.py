"""Differentiable methods: how the shared logits become the edge weights of a supernet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from transnas.networks.relaxations import (
    Binarised,
    Concrete,
    Relaxation,
    Sampled,
    Softmax,
    StraightThrough,
)

__all__ = ["METHODS", "Method"]

Make = Callable[[torch.Generator], Relaxation]
"""Called once a task with a generator of its own."""


@dataclass(frozen=True, slots=True)
class Method:
    """What tells one differentiable method from another."""

    alpha: Make
    """Edge weights in the architecture's step."""
    weights: Make | None = None
    """Edge weights in stages; None: the same."""
    samples: bool = False
    """Whether edge weights are drawn anew in every step."""
    temperatures: tuple[float, float] = (1.0, 1.0)
    """Temperature of the first and the last iteration; it falls linearly."""
    partial: bool = False
    """Whether mixed edges see a part of the channels, and edges have weights of their own."""
    two_paths: bool = False
    """Whether a step moves the drawn operations only, and keeps their joint probability."""
    betas: tuple[float, float] = (0.5, 0.999)
    """Of Adam on the logits."""

    def cool(self, relaxation: Relaxation, done: float) -> None:
        """Set the temperature for this share of the search."""
        first, last = self.temperatures
        if isinstance(relaxation, (Concrete, StraightThrough)):
            relaxation.temperature = first + (last - first) * done


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "darts": Method(lambda generator: Softmax()),
        "pc-darts": Method(lambda generator: Softmax(), partial=True),
        "snas": Method(
            lambda generator: Concrete(1.0, generator), samples=True, temperatures=(1.0, 0.03)
        ),
        "gdas": Method(
            lambda generator: StraightThrough(10.0, generator),
            samples=True,
            temperatures=(10.0, 0.1),
        ),
        "proxyless": Method(
            lambda generator: Binarised(2, generator),
            lambda generator: Sampled(generator),
            samples=True,
            two_paths=True,
            betas=(0.0, 0.999),
        ),
    }
)
