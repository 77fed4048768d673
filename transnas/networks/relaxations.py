"""Relaxations: architecture logits [edges, operations] to the weights of a supernet's edges.

An edge of a supernet computes the sum over its operations o of weight_o o(x). Relaxations work row
by row, are called once a step for all cells, and draw from a generator of their own if given one,
so that their noise does not depend on what else is random.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas._errors import InputError

__all__ = ["Concrete", "Mix", "OneHot", "Relaxation", "Sigmoid", "Softmax", "StraightThrough"]


class Mix(NamedTuple):
    """Edge weights, and which operations are worth computing."""

    weights: Tensor
    """[edges, operations]"""
    paths: tuple[tuple[int, ...], ...] | None = None
    """Operations to compute on each edge; None: all of them."""

    def active(self, edge: int) -> Sequence[int]:
        """Return the operations to compute on `edge`."""
        return range(self.weights.shape[1]) if self.paths is None else self.paths[edge]


Relaxation = Callable[[Tensor], Mix]
"""Maps logits [edges, operations] to a `Mix` of the same shape."""


@dataclass(slots=True)
class Softmax:
    """p = softmax(logits): every operation, by its share (Liu et al., "DARTS", ICLR 2019)."""

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> weights of the same shape, rows summing to 1."""
        return Mix(logits.softmax(dim=1))


@dataclass(slots=True)
class Sigmoid:
    """Independent gates in (0, 1): operations do not compete (Chu et al., "Fair DARTS", 2020)."""

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> weights of the same shape."""
        return Mix(logits.sigmoid())


@dataclass(slots=True)
class Concrete:
    """softmax((log p + G) / temperature), G Gumbel noise (Xie et al., "SNAS", ICLR 2019)."""

    temperature: float = 1.0
    """Trainers lower it; towards 0 the weights become one-hot, with probabilities p."""
    generator: torch.Generator | None = None
    """Source of the noise; None: torch's global one."""

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> weights of the same shape, rows summing to 1."""
        return Mix(_concrete(logits, self.temperature, self.generator))


@dataclass(slots=True)
class StraightThrough:
    """The largest entry of a concrete sample q: one_hot(argmax q) + q - constant(q).

    Dong & Yang, "Searching for A Robust Neural Architecture in Four GPU Hours" (GDAS), CVPR 2019,
    equation 7: one path forward, the gradient of q backward. Only the sampled operation is
    computed, so only its own term <dL/dy, o(x)> of the gradient of q exists.
    """

    temperature: float = 10.0
    """Trainers lower it, as published to 0.1; samples follow p at every temperature."""
    generator: torch.Generator | None = None
    """Source of the noise; None: torch's global one."""

    def __post_init__(self) -> None:
        _check_temperature(self.temperature)

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> exactly one-hot weights and the path they stand for."""
        soft = _concrete(logits, self.temperature, self.generator)
        chosen = soft.argmax(dim=1)
        hard = F.one_hot(chosen, soft.shape[1]).to(soft)
        # The difference first: it is exactly zero, so the weights are exactly zero and one.
        weights = hard + (soft - soft.detach())
        return Mix(weights, tuple((code,) for code in chosen.tolist()))


@dataclass(slots=True)
class OneHot:
    """A fixed architecture: one operation on each edge, whatever the logits are."""

    codes: Sequence[int | None]
    """Operation of each edge; None: the edge is not there."""

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> one-hot weights (zeros on an edge that is not there)."""
        if len(self.codes) != len(logits):
            raise InputError(f"codes have {len(self.codes)} entries; accepted: {len(logits)}")
        paths = tuple(() if code is None else (code,) for code in self.codes)
        weights = torch.zeros_like(logits, requires_grad=False)
        for row, path in zip(weights, paths, strict=True):
            row[list(path)] = 1.0
        return Mix(weights, paths)


def _concrete(logits: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    """Return a sample of the concrete distribution (Maddison et al., ICLR 2017), row by row."""
    exponential = torch.empty_like(logits, requires_grad=False).exponential_(generator=generator)
    gumbel = -exponential.log()
    return ((logits.log_softmax(dim=1) + gumbel) / temperature).softmax(dim=1)


def _check_temperature(value: float) -> None:
    if not value > 0.0:
        raise InputError(f"temperature is {value!r}; accepted: numbers above 0")
