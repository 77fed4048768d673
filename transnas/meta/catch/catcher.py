"""The three networks of R replicates, their common optimiser, and both as plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
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

    `features` is D, the width of a one-hot network. Layers are of `settings.hidden`.
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
        self.parameters = {
            **initial("encoder", (features + 1, h, h, 2 * z), generators, dtype),
            **initial("controller", (z + features, h, h, features), generators, dtype),
            **initial("evaluator", (z + features, h, h, 1), generators, dtype),
        }
        for tensor in self.parameters.values():
            tensor.requires_grad_()
        self._first = {name: torch.zeros_like(p).detach() for name, p in self.parameters.items()}
        self._second = {name: torch.zeros_like(p).detach() for name, p in self.parameters.items()}
        self._steps = dict.fromkeys(self.parameters, 0)

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
        gradients = {
            name: g for name, g in zip(self.parameters, found, strict=True) if g is not None
        }
        squares = [torch.linalg.vector_norm(g, dim=(1, 2)).square() for g in gradients.values()]
        length = torch.stack(squares).sum(dim=0).sqrt()
        factor = (self.settings.gradient_norm / (length + 1e-6)).clamp(max=1.0)[:, None, None]
        with torch.no_grad():
            for name, gradient in gradients.items():
                self._adam(name, gradient.mul_(factor))

    def _adam(self, name: str, gradient: torch.Tensor) -> None:
        """Adam of Kingma & Ba (2015); `torch.optim` takes seconds to import its compiler."""
        self._steps[name] += 1
        first, second, t = self._first[name], self._second[name], self._steps[name]
        first.lerp_(gradient, 1 - _BETA1)
        second.mul_(_BETA2).addcmul_(gradient, gradient, value=1 - _BETA2)
        size = second.sqrt().div_(sqrt(1 - _BETA2**t)).add_(_EPSILON)
        rate = self.settings.learning_rate / (1 - _BETA1**t)
        self.parameters[name].addcdiv_(first, size, value=-rate)

    def arrays(self) -> Arrays:
        """Return everything learnt: parameters [R, ...] and the state of Adam."""
        found: Arrays = {}
        for name, tensor in self.parameters.items():
            found[name] = np.array(tensor.detach().numpy())
            found[f"first/{name}"] = np.array(self._first[name].numpy())
            found[f"second/{name}"] = np.array(self._second[name].numpy())
            found[f"steps/{name}"] = np.array([self._steps[name]])
        return found

    def load(self, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Continue from `arrays()`, of the same sizes and any number of replicates."""
        for name in self.parameters:
            self.parameters[name] = self._tensor(arrays[name]).requires_grad_()
            self._first[name] = self._tensor(arrays[f"first/{name}"])
            self._second[name] = self._tensor(arrays[f"second/{name}"])
            self._steps[name] = int(arrays[f"steps/{name}"][0])

    def _tensor(self, array: npt.NDArray[Any]) -> torch.Tensor:
        return torch.as_tensor(np.array(array), dtype=self.dtype)


def pick(arrays: Mapping[str, npt.NDArray[Any]], replicates: Sequence[int]) -> Arrays:
    """Return the same of some replicates, in that order and repeated as often as named."""
    chosen = np.asarray(replicates, dtype=np.int64)
    return {n: a if n.startswith("steps/") else a[chosen] for n, a in arrays.items()}
