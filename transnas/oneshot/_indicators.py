"""Indicators of a search's health: skip connections, parametric operations, entropy.

Collapse (Zela et al., ICLR 2020; Liang et al., "DARTS+", 2019): skip connections speed the
training of the weights up, so they win edges whatever they are worth in the end.
"""

from __future__ import annotations

import math

from torch import Tensor

from transnas.networks import MixedEdges, Supernet
from transnas.spaces import Architecture, Space

__all__ = [
    "architecture_indicators",
    "is_parametric",
    "is_skip",
    "mean_entropy",
    "operation_names",
    "skip_rows",
]


def is_skip(operation: str) -> bool:
    """Return whether the operation of this name is a skip connection."""
    return "skip" in operation or operation == "identity"


def is_parametric(operation: str) -> bool:
    """Return whether the operation of this name has weights."""
    return "conv" in operation


def architecture_indicators(space: Space, arch: Architecture) -> dict[str, float]:
    """Return the numbers of `skips` and of `parametric` operations in `arch`."""
    chosen = [c.values[code] for c, code in zip(space.choices, arch.values, strict=True)]
    return {
        "skips": float(sum(map(is_skip, chosen))),
        "parametric": float(sum(map(is_parametric, chosen))),
    }


def mean_entropy(shares: Tensor) -> float:
    """Return the mean entropy of the rows of shares [edges, operations], 1 for uniform ones."""
    p = shares.double() / shares.double().sum(dim=1, keepdim=True)
    entropy = -(p * p.clamp_min(1e-300).log()).sum(dim=1)
    return float(entropy.mean()) / math.log(p.shape[1])


def operation_names(net: Supernet) -> list[tuple[str, ...]]:
    """Return the names of the operations of each row of the logits.

    Empty names stand for the codes of supernets that are not made of mixed edges.
    """
    rows, columns = net.logits.shape
    found: list[tuple[str, ...]] = [("",) * columns] * rows
    for module in net.modules():
        if isinstance(module, MixedEdges):
            for row in module.rows:
                found[row] = module.operations
    choices = net.space.choices
    if found[0] == ("",) * columns and len(choices) == rows:
        found = [(*c.values, *[""] * (columns - len(c.values))) for c in choices]
    return found


def skip_rows(net: Supernet, arch: Architecture) -> list[int]:
    """Return the rows of the first kind of cell (the normal one) on which `arch` skips."""
    kinds = len(getattr(net.space, "kinds", ("cell",)))
    names = operation_names(net)
    codes = enumerate(net.codes(arch)[: len(names) // kinds])
    return [row for row, code in codes if code is not None and is_skip(names[row][code])]
