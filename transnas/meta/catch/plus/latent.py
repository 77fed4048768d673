"""Latent features of architectures, learnt from all sources at once.

A small network maps an architecture to h latent features, and one linear head a source from there
to the source's normal scores: heads differ as tasks do, the features are what tasks share. Several
networks from different initial weights are taken together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from transnas.spaces import Space
from transnas.strategies.bayesian import Features, Float, Kernel

if TYPE_CHECKING:
    import torch

__all__ = ["Latent", "Rows", "fit", "inputs_of"]

MEMBERS, WIDTH = 3, 32
"""Networks, and the width of both their hidden layers."""
STEPS, RATE, DECAY = 200, 5e-3, 1e-2
"""Full-batch steps of Adam, their size, and the weight of the parameters' squares (L2)."""


def inputs_of(space: Space, features: Features, kernel: Kernel) -> Float:
    """Return what networks see of n architectures, [n, D + d].

    The share of each value of each choice among the known members of the isomorphism class, and
    the standardised path statistics: the same for every member of a class.
    """
    counts = np.array([len(c.values) for c in space.choices])
    offsets = np.concatenate([[0], np.cumsum(counts)])
    onehot = np.zeros((len(features.codes), int(offsets[-1])), dtype=np.float32)
    np.put_along_axis(onehot, features.codes + offsets[:-1], np.float32(1), axis=1)
    shares = np.add.reduceat(onehot, features.starts[:-1], axis=0)
    shares /= np.diff(features.starts)[:, None].astype(np.float32)
    found: Float = np.concatenate([shares, kernel.standardised(features)], axis=1)
    return found


@dataclass(frozen=True)
class Rows:
    """What one replicate learns from: inputs [n, d], the source [n] of J, and its score [n]."""

    inputs: Float
    source: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]
    sources: int


@dataclass(frozen=True)
class Latent:
    """Trained networks; `arrays` has their weights [E, inputs, outputs] and biases by layer."""

    arrays: Mapping[str, Float]

    def apply(self, inputs: Float) -> tuple[Float, Float]:
        """Return latents [n, E h], and the mean prediction of every source [J, n]."""
        hidden = np.broadcast_to(inputs, (self.members, *inputs.shape))
        for layer in range(2):
            hidden = np.maximum(self._layer(layer, hidden), 0)
        latents: Float = np.ascontiguousarray(hidden.transpose(1, 0, 2)).reshape(len(inputs), -1)
        predictions: Float = np.ascontiguousarray(self._layer(2, hidden).mean(axis=0).T)
        return latents, predictions

    @property
    def members(self) -> int:
        """E, the number of networks."""
        return len(self.arrays["latent.0.weight"])

    def _layer(self, layer: int, values: Float) -> Float:
        name = f"latent.{layer}"
        found: Float = values @ self.arrays[f"{name}.weight"] + self.arrays[f"{name}.bias"]
        return found


def fit(rows: Sequence[Rows], seeds: Sequence[int]) -> list[Latent]:
    """Train the networks of R replicates together; replicate r draws from `seeds[r]` alone.

    Minimises the mean squared error on the scores, each row through its source's head.
    """
    import torch

    from transnas.meta.catch.catcher import Block
    from transnas.meta.catch.mlp import initial, mlp

    sizes = (rows[0].inputs.shape[1], WIDTH, WIDTH, max(r.sources for r in rows))
    generators = [
        torch.Generator().manual_seed(s * MEMBERS + e) for s in seeds for e in range(MEMBERS)
    ]
    block = Block(initial("latent", sizes, generators, torch.float32))
    inputs, source, scores, weight = _stacked(rows)
    for _ in range(STEPS):
        predicted = mlp(block.parameters, "latent", inputs).gather(-1, source).squeeze(-1)
        loss = (weight * (predicted - scores).square()).sum()
        found = torch.autograd.grad(loss, list(block.parameters.values()))
        block.adam(torch.cat([g.flatten(1) for g in found], dim=1) + DECAY * block.values, RATE)
    arrays = {name: p.detach().numpy() for name, p in block.parameters.items()}
    parts = [slice(r * MEMBERS, (r + 1) * MEMBERS) for r in range(len(rows))]
    return [
        Latent(
            {name: np.array(_cut(name, array[part], row.sources)) for name, array in arrays.items()}
        )
        for part, row in zip(parts, rows, strict=True)
    ]


def _cut(name: str, array: Float, sources: int) -> Float:
    """Return a layer without the heads that a replicate with fewer sources never used."""
    cut: Float = array[..., :sources] if name.startswith("latent.2") else array
    return cut


def _stacked(rows: Sequence[Rows]) -> tuple[torch.Tensor, ...]:
    """Return inputs, sources [R E, n, 1], scores and weights, each row once a member."""
    import torch

    most = max(len(r.inputs) for r in rows)
    inputs = np.zeros((len(rows), most, rows[0].inputs.shape[1]), dtype=np.float32)
    source = np.zeros((len(rows), most, 1), dtype=np.int64)
    scores, weight = np.zeros((2, len(rows), most), dtype=np.float32)
    for r, row in enumerate(rows):
        n = len(row.inputs)
        inputs[r, :n], source[r, :n, 0], scores[r, :n] = row.inputs, row.source, row.scores
        weight[r, :n] = 1 / n
    stacked = (inputs, source, scores, weight)
    return tuple(torch.as_tensor(np.repeat(a, MEMBERS, axis=0)) for a in stacked)
