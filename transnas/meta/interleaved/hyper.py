"""The hypernetwork: weights of the cells, generated from the architecture.

Its input is a, the softmax of the logits of all edges (the "importance of each operation"), and a
learnt embedding e_k of the task; it is trained in place of the weights that it generates. Stems
and heads are never generated, nor is what normalisation learns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

__all__ = ["ChunkedHyper", "FilmHyper", "Hyper", "generated_names"]

EMBEDDING = 16
"""Dimensions of the embeddings of tasks, and of chunks."""


def generated_names(weights: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the weights that a hypernetwork generates: kernels of the cells."""
    return [name for name, w in weights.items() if w.ndim > 1]


class Hyper(nn.Module):
    """Base: holds the task embeddings [K, EMBEDDING]."""

    def __init__(self, tasks: int) -> None:
        super().__init__()
        self.tasks = nn.Parameter(0.1 * torch.randn(tasks, EMBEDDING))

    def forward(
        self, importance: Tensor, task: int, base: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """Return the weights of `task`, shaped and named as `base`; importance [edges * ops]."""
        raise NotImplementedError


class ChunkedHyper(Hyper):
    """w_k = base_k + s H([a; e_k; c_i]), chunk i of q values; s is He's scale of each tensor.

    `base_k` is a fixed random draw; the output layer starts at zero, so that the network starts
    as an ordinary one.
    """

    def __init__(self, inputs: int, tasks: int, size: int, chunk: int, hidden: int) -> None:
        """`inputs`: entries of a; `size`: weights to generate."""
        super().__init__(tasks)
        self.size = size
        self.chunks = nn.Parameter(0.1 * torch.randn(math.ceil(size / chunk), EMBEDDING))
        self.hidden = nn.Linear(inputs + 2 * EMBEDDING, hidden)
        self.out = nn.Linear(hidden, chunk)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, importance: Tensor, task: int, base: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """See `Hyper.forward`."""
        common = torch.cat([importance, self.tasks[task]]).expand(len(self.chunks), -1)
        units = torch.relu(self.hidden(torch.cat([common, self.chunks], dim=1)))
        flat = self.out(units).reshape(-1)[: self.size]
        found, at = {}, 0
        for name, w in base.items():
            part = flat[at : at + w.numel()].view_as(w)
            found[name] = w + _he_scale(w) * part
            at += w.numel()
        return found


class FilmHyper(Hyper):
    """w_k = (1 + gamma_k) base + s beta_k for each output channel; `base` is learnt, and shared."""

    def __init__(self, inputs: int, tasks: int, base: Mapping[str, Tensor], hidden: int) -> None:
        super().__init__(tasks)
        self.names = list(base)
        self.base = nn.ParameterList([nn.Parameter(w.detach().clone()) for w in base.values()])
        self.hidden = nn.Linear(inputs + EMBEDDING, hidden)
        self.out = nn.Linear(hidden, 2 * sum(len(w) for w in base.values()))
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, importance: Tensor, task: int, base: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        """See `Hyper.forward`; the values of `base` are not used."""
        units = torch.relu(self.hidden(torch.cat([importance, self.tasks[task]])))
        scale, shift = self.out(units).chunk(2)
        found, at = {}, 0
        for name, w in zip(self.names, self.base, strict=True):
            shape = (-1, *[1] * (w.ndim - 1))
            gamma, beta = (v[at : at + len(w)].view(shape) for v in (scale, shift))
            found[name] = (1 + gamma) * w + _he_scale(w) * beta
            at += len(w)
        return found


def importance(logits: Sequence[Tensor]) -> Tensor:
    """Return a: the softmax of each row of the logits, one after the other [edges * ops]."""
    return torch.cat([part.softmax(dim=-1).reshape(-1) for part in logits])


def _he_scale(weight: Tensor) -> float:
    """Return sqrt(2 / fan-in) of a kernel [out, in, ...]."""
    return math.sqrt(2.0 / max(1, weight[0].numel()))
