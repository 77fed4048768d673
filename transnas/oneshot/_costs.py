"""What the operations of a supernet cost, and the expected cost of an architecture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks import MixedEdges, Supernet
from transnas.oneshot._indicators import operation_names

__all__ = ["expected_cost", "parameter_costs", "table_costs"]


def parameter_costs(net: Supernet) -> Tensor:
    """Return the kernels' weights of each operation over all cells, [edges, operations].

    Relative to the dearest architecture: the largest cost of each edge, summed, is 1.
    """
    costs = torch.zeros_like(net.logits, requires_grad=False)
    for row, code, operation in _operations(net):
        costs[row, code] += sum(p.numel() for p in operation.parameters() if p.ndim > 1)
    most = costs.max(dim=1).values.sum()
    return costs / most if most > 0 else costs


def table_costs(net: Supernet, table: Mapping[str, float]) -> Tensor:
    """Return the cost that `table` gives each operation by name, [edges, operations].

    Raises `InputError` for an operation that it lacks.
    """
    names = operation_names(net)
    for name in (name for row in names for name in row):
        if name not in table:
            raise InputError(f"table lacks operation {name!r}; accepted: one with all operations")
    return net.logits.new_tensor([[table[name] for name in row] for row in names])


def _operations(net: Supernet) -> Iterator[tuple[int, int, nn.Module]]:
    """Yield row, code and module of each operation that has weights of its own, in all cells."""
    for module in net.modules():
        if isinstance(module, MixedEdges):
            for row, edge in module.edges.items():
                for name, operation in edge.named_children():
                    yield int(row), module.operations.index(name), operation


def expected_cost(probabilities: Tensor, costs: Tensor) -> Tensor:
    """Return sum over edges of E[cost] [], for independent edges [edges, operations] each."""
    return (probabilities * costs).sum()
