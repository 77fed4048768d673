"""Indicators of a search's health: skip connections, parametric operations, entropy.

Collapse (Zela et al., ICLR 2020; Liang et al., "DARTS+", 2019): skip connections speed the
training of the weights up, so they win edges whatever they are worth in the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from transnas.networks import Operation, Supernet
from transnas.spaces import Architecture, Space

__all__ = [
    "architecture_indicators",
    "is_absent",
    "is_parametric",
    "is_skip",
    "mean_entropy",
    "operations",
    "parameters",
    "skip_rows",
    "skip_share",
]


def is_skip(operation: str) -> bool:
    """Return whether the operation of this name is a skip connection."""
    return "skip" in operation


def is_absent(operation: str) -> bool:
    """Return whether the operation of this name computes nothing."""
    return operation in ("none", "zero")


def parameters(operation: Operation) -> int:
    """Return how many weights of kernels an operation has of its own, over all cells."""
    return sum(p.numel() for m in operation.modules for p in m.parameters() if p.ndim > 1)


def is_parametric(operation: Operation) -> bool:
    """Return whether it has weights of its own, other than to fit a skip or a pool in."""
    plain = is_skip(operation.name) or "pool" in operation.name
    return not plain and parameters(operation) > 0


def operations(net: Supernet) -> Iterator[tuple[int, int, Operation]]:
    """Yield row, code and operation of all that the rows of the logits allow."""
    for row, codes in enumerate(net.allowed):
        for code in codes:
            yield row, code, net.operation(row, code)


def architecture_indicators(net: Supernet, arch: Architecture) -> dict[str, float]:
    """Return the numbers of `skips` and of `parametric` operations in `arch`.

    The second is left out where operations have no weights of their own.
    """
    codes = enumerate(net.codes(arch))
    chosen = [net.operation(row, code) for row, code in codes if code is not None]
    found = {"skips": float(sum(is_skip(operation.name) for operation in chosen))}
    if any(is_parametric(operation) for _, _, operation in operations(net)):
        found["parametric"] = float(sum(map(is_parametric, chosen)))
    return found


def mean_entropy(shares: Tensor) -> float:
    """Return the mean entropy of the rows of shares [edges, operations], 1 for uniform ones.

    Operations of share 0 are not there, and rows of one operation do not count; 0 if all are.
    """
    p = shares.double() / shares.double().sum(dim=1, keepdim=True)
    p = p[(p > 0).sum(dim=1) > 1]
    if len(p) == 0:
        return 0.0
    entropy = -(p * p.clamp_min(1e-300).log()).sum(dim=1)
    return float((entropy / (p > 0).sum(dim=1).double().log()).mean())


def skip_rows(net: Supernet, arch: Architecture) -> dict[int, int]:
    """Return row and code where the first kind of cell (the normal one) of `arch` skips."""
    codes = net.codes(arch)
    return {
        row: code
        for row, code in enumerate(codes[: len(codes) // _kinds(net.space)])
        if code is not None and is_skip(net.operation(row, code).name)
    }


def skip_share(space: Space, arch: Architecture) -> float:
    """Return which part of the operations is skip connections, in the first kind of cell."""
    first = len(space.choices) // _kinds(space)
    chosen = [
        choice.values[code]
        for choice, code in zip(space.choices[:first], arch.values, strict=False)
        if any(map(is_skip, choice.values))
    ]
    return sum(map(is_skip, chosen)) / max(1, len(chosen))


def _kinds(space: Space) -> int:
    """Return how many kinds of cell an architecture has, of which the normal one comes first."""
    return len(getattr(space, "kinds", ("cell",)))
