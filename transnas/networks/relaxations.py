"""Relaxations: architecture logits [edges, operations] to the weights of a supernet's edges.

An edge of a supernet computes the sum over its operations o of weight_o o(x). Relaxations work row
by row, are called once a step for all cells, and draw from a generator of their own if given one,
so that their noise does not depend on what else is random. An operation that an edge does not have
has the logit minus infinity: it gets weight zero and is never drawn.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas._errors import InputError

__all__ = [
    "Binarised",
    "Concrete",
    "Mix",
    "OneHot",
    "PathDropout",
    "Relaxation",
    "Sampled",
    "Sigmoid",
    "Softmax",
    "StraightThrough",
    "Uniform",
    "keep_mass",
]


class Mix(NamedTuple):
    """Edge weights, and which operations are worth computing."""

    weights: Tensor
    """[edges, operations]"""
    paths: tuple[tuple[int, ...], ...] | None = None
    """Operations to compute on each edge; None: all of them."""
    edges: Tensor | None = None
    """[edges], shares that are already part of `weights` (edge normalisation); None: all 1."""

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
class Sampled:
    """One operation an edge, drawn by p = softmax(logits), without gradient.

    For policies whose probabilities are learnt another way, and for weights in ProxylessNAS.
    """

    generator: torch.Generator | None = None
    """Source of the noise; None: torch's global one."""

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> exactly one-hot weights and the path they stand for."""
        return _one_hot(_draw(logits.detach(), self.generator), logits)


@dataclass(slots=True)
class Uniform:
    """One operation an edge, all equally likely (random search with weight sharing, SETN)."""

    generator: torch.Generator | None = None
    """Source of the noise; None: torch's global one."""

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> exactly one-hot weights and the path they stand for."""
        even = torch.where(logits.detach() == -math.inf, -math.inf, 0.0)
        return _one_hot(_draw(even, self.generator), logits)


@dataclass(slots=True)
class Binarised:
    """Binary gates: one open path forward, the gradient of a softmax over `paths` of them.

    Cai et al., "ProxylessNAS", ICLR 2019, section 3.2: `paths` operations are drawn by p without
    replacement; q = softmax over them; the open gate is drawn by q. Gates g get the gradient
    <dL/dy, o(x)>, logits sum_j dL/dg_j q_j (delta_ij - q_i). After the update of the logits,
    `keep_mass` leaves the probabilities of the others as they were. Weights are trained with
    `Sampled`.
    """

    paths: int = 2
    """Operations computed on an edge: 2 as published, all of them for the exact gate gradient."""
    generator: torch.Generator | None = None
    """Source of the noise; None: torch's global one."""

    def __post_init__(self) -> None:
        if self.paths < 2:
            raise InputError(f"paths is {self.paths!r}; accepted: whole numbers from 2")

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> exactly one-hot weights and the paths that were drawn."""
        detached = logits.detach()
        noisy = _perturbed(detached, self.generator)
        drawn = noisy.topk(min(self.paths, logits.shape[1]), dim=1).indices
        out = torch.ones_like(detached, dtype=torch.bool).scatter(1, drawn, False)
        share = logits.masked_fill(out, -math.inf).softmax(dim=1)
        chosen = _draw(detached.masked_fill(out, -math.inf), self.generator)
        hard = F.one_hot(chosen, logits.shape[1]).to(share)
        there = (~out & (detached > -math.inf)).tolist()
        paths = tuple(tuple(code for code, on in enumerate(row) if on) for row in there)
        return Mix(hard + (share - share.detach()), paths)


def keep_mass(logits: Tensor, before: Tensor, paths: Sequence[Sequence[int]]) -> None:
    """Shift updated `logits` on `paths`, in place, so that their joint probability is as `before`.

    Both [edges, operations]; `paths` are those of the `Mix` that gave the gradient.
    """
    with torch.no_grad():
        for row, old, path in zip(logits, before, paths, strict=True):
            codes = list(path)
            row[codes] -= row[codes].logsumexp(0) - old[codes].logsumexp(0)


@dataclass(slots=True)
class PathDropout:
    """Every operation with weight 1, dropped at random: all k of an edge with probability `rate`.

    Bender et al., "Understanding and Simplifying One-Shot Architecture Search", ICML 2018: each is
    dropped with probability rate^(1/k), and nothing is scaled up. For other masks in parts of a
    batch call the supernet for each part, which normalises the parts apart as published.
    """

    rate: float = 0.1
    """Trainers raise it from 0; at 0 nothing is dropped."""
    generator: torch.Generator | None = None
    """Source of the noise; None: torch's global one."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.rate < 1.0:
            raise InputError(f"rate is {self.rate!r}; accepted: 0 up to below 1")

    def __call__(self, logits: Tensor) -> Mix:
        """[edges, operations] -> weights 0 or 1, and the operations that are kept."""
        there = logits.detach() > -math.inf
        drop = self.rate ** (1.0 / there.sum(dim=1, keepdim=True))
        noise = torch.empty_like(logits, requires_grad=False).uniform_(generator=self.generator)
        kept = there & (noise >= drop)
        paths = tuple(tuple(code for code, on in enumerate(row) if on) for row in kept.tolist())
        return Mix(kept.to(logits.dtype), paths)


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
    return (_perturbed(logits, generator) / temperature).softmax(dim=1)


def _perturbed(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return log p + G: the k largest of a row are a draw of k operations without replacement."""
    exponential = torch.empty_like(logits, requires_grad=False).exponential_(generator=generator)
    return logits.log_softmax(dim=1) - exponential.log()


def _draw(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Return one operation of each edge, [edges], drawn by softmax(logits)."""
    return _perturbed(logits, generator).argmax(dim=1)


def _one_hot(codes: Tensor, like: Tensor) -> Mix:
    weights = F.one_hot(codes, like.shape[1]).to(like.dtype)
    return Mix(weights, tuple((code,) for code in codes.tolist()))


def _check_temperature(value: float) -> None:
    if not value > 0.0:
        raise InputError(f"temperature is {value!r}; accepted: numbers above 0")
