"""The three networks of R replicates, their common optimiser, and both as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transnas.meta.catch.mlp import initial
from transnas.meta.catch.settings import CatchSettings

__all__ = ["Arrays", "Catcher", "pick"]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8

Arrays = dict[str, npt.NDArray[Any]]
"""Parameters by name, moments of Adam as `first/<name>` and `second/<name>`, and `steps`."""


class Catcher:
    """Parameters of encoder phi, controller theta and evaluator psi, one set a replicate.

    `features` is D, the width of a one-hot network. Layers are of `settings.hidden`. The
    parameters of one network lie in one block [R, P], of which `parameters` has views.
    """

    def __init__(
        self,
        seeds: Sequence[int],
        features: int,
        settings: CatchSettings,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.features = features
        self.settings = settings
        self.dtype = dtype
        generators = [torch.Generator().manual_seed(seed % (1 << 63)) for seed in seeds]
        h, z = settings.hidden, settings.z_size
        sizes = {
            "encoder": (features + 1, h, h, 2 * z),
            "controller": (z + features, h, h, features),
            "evaluator": (z + features, h, h, 1),
        }
        self._blocks = {n: Block(initial(n, s, generators, dtype)) for n, s in sizes.items()}
        self._gather()

    def _gather(self) -> None:
        self.parameters = {n: p for b in self._blocks.values() for n, p in b.parameters.items()}

    @property
    def replicates(self) -> int:
        """R, the number of parameter sets."""
        return len(self.parameters["evaluator.0.weight"])

    def step(self, losses: torch.Tensor) -> None:
        """Take one step of Adam on each replicate's own loss [R], gradients shortened.

        A network that the losses do not reach keeps its parameters and its moments.
        """
        tensors = list(self.parameters.values())
        found = torch.autograd.grad(losses.sum(), tensors, allow_unused=True)
        of = dict(zip(self.parameters, found, strict=True))
        gradients = {}
        for name, block in self._blocks.items():
            parts = [g.flatten(1) for p in block.parameters if (g := of[p]) is not None]
            if parts:
                gradients[name] = torch.cat(parts, dim=1)
        lengths = [torch.linalg.vector_norm(g, dim=1) for g in gradients.values()]
        length = torch.linalg.vector_norm(torch.stack(lengths), dim=0)
        factor = (self.settings.gradient_norm / (length + 1e-6)).clamp(max=1.0).unsqueeze(-1)
        for name, gradient in gradients.items():
            self._blocks[name].adam(gradient.mul_(factor), self.settings.learning_rate)

    def arrays(self) -> Arrays:
        """Return everything learnt: parameters [R, ...] and the state of Adam."""
        found: Arrays = {}
        for block in self._blocks.values():
            found.update(block.arrays())
        return found

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `arrays()`, of the same sizes and any number of replicates."""
        self._blocks = {n: b.loaded(arrays, self.dtype) for n, b in self._blocks.items()}
        self._gather()


class Block:
    """One network's parameters as views of one array [R, P], and the state of its Adam."""

    def __init__(self, parameters: Mapping[str, torch.Tensor]) -> None:
        self.values = torch.cat([p.flatten(1) for p in parameters.values()], dim=1)
        self.shapes = {n: p.shape[1:] for n, p in parameters.items()}
        self.parameters = {n: p.requires_grad_() for n, p in self._views(self.values).items()}
        self.first, self.second = torch.zeros_like(self.values), torch.zeros_like(self.values)
        self.steps = torch.zeros(())

    def adam(self, gradient: torch.Tensor, rate: float) -> None:
        """Adam of Kingma & Ba (2015) on `gradient` [R, P], in one pass over memory.

        The kernel of `torch.optim.Adam(fused=True)`, whose module takes seconds to import.
        """
        self.steps += 1
        torch._fused_adam_(
            [self.values],
            [gradient],
            [self.first],
            [self.second],
            [],
            [self.steps],
            lr=rate,
            beta1=_BETA1,
            beta2=_BETA2,
            weight_decay=0.0,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def arrays(self) -> Arrays:
        """Return copies of everything, by parameter."""
        found: Arrays = {}
        for prefix, whole in (("", self.values), ("first/", self.first), ("second/", self.second)):
            for name, view in self._views(whole).items():
                found[prefix + name] = np.array(view.numpy())
        for name in self.shapes:
            found[f"steps/{name}"] = np.array([int(self.steps)])
        return found

    def loaded(self, arrays: Mapping[str, npt.NDArray[Any]], dtype: torch.dtype) -> Block:
        """Return a block of the same network with copies of `arrays()`."""

        def tensors(prefix: str) -> dict[str, torch.Tensor]:
            return {n: torch.tensor(arrays[prefix + n], dtype=dtype) for n in self.shapes}

        block = Block(tensors(""))
        block.first, block.second = (
            Block(tensors("first/")).values,
            Block(tensors("second/")).values,
        )
        block.steps = torch.tensor(float(arrays[f"steps/{next(iter(self.shapes))}"][0]))
        return block

    def _views(self, whole: torch.Tensor) -> dict[str, torch.Tensor]:
        views, start = {}, 0
        for name, shape in self.shapes.items():
            part = whole[:, start : start + shape.numel()]
            views[name] = part.view(len(whole), *shape).detach()
            start += shape.numel()
        return views


def pick(arrays: Mapping[str, npt.NDArray[Any]], replicates: Sequence[int]) -> Arrays:
    """Return the same of some replicates, in that order and repeated as often as named."""
    chosen = np.asarray(replicates, dtype=np.int64)
    return {n: a if n.startswith("steps/") else a[chosen] for n, a in arrays.items()}
