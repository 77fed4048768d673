"""Many small networks of one shape, applied together: one parameter set a replicate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import sqrt

import torch

__all__ = ["Parameters", "initial", "mlp"]

Parameters = Mapping[str, torch.Tensor]
"""By name: `<network>.<layer>.weight` [R, inputs, outputs] and `.bias` [R, 1, outputs]."""


def initial(
    network: str, sizes: Sequence[int], generators: Sequence[torch.Generator], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """Return fresh parameters of layers of these sizes, uniform within 1/sqrt(inputs)."""
    found = {}
    for layer, (inputs, outputs) in enumerate(pairwise(sizes)):
        for kind, rows in (("weight", inputs), ("bias", 1)):
            draws = [torch.rand(rows, outputs, generator=g, dtype=dtype) for g in generators]
            bound = 1 / sqrt(inputs)
            found[f"{network}.{layer}.{kind}"] = torch.stack(draws) * (2 * bound) - bound
    return found


def mlp(parameters: Parameters, network: str, inputs: torch.Tensor) -> torch.Tensor:
    """Return the outputs [R, N, outputs] of [R, N, inputs]: ReLU between three layers."""
    for layer in range(3):
        weight = parameters[f"{network}.{layer}.weight"]
        inputs = torch.baddbmm(parameters[f"{network}.{layer}.bias"], inputs, weight)
        if layer < 2:
            inputs = inputs.relu()
    return inputs
