"""What the operations of a supernet cost, and the expected cost of an architecture."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.networks import Supernet
from transnas.oneshot._indicators import operations, parameters

__all__ = ["expected_cost", "parameter_costs", "table_costs"]


def parameter_costs(net: Supernet) -> Tensor:
    """Return the kernels' weights of each operation over all cells, [edges, operations].

    Relative to the dearest architecture: the largest cost of each edge, summed, is 1.
    """
    costs = torch.zeros_like(net.logits, requires_grad=False)
    for row, code, operation in operations(net):
        costs[row, code] = parameters(operation)
    most = costs.max(dim=1).values.sum()
    return costs / most if most > 0 else costs


def table_costs(net: Supernet, table: Mapping[str, float]) -> Tensor:
    """Return the cost that `table` gives each operation by name, [edges, operations].

    Raises `InputError` for an operation that it lacks.
    """
    costs = torch.zeros_like(net.logits, requires_grad=False)
    for row, code, (name, _) in operations(net):
        if name not in table:
            raise InputError(f"table lacks operation {name!r}; accepted: one with all operations")
        costs[row, code] = table[name]
    return costs


def expected_cost(probabilities: Tensor, costs: Tensor) -> Tensor:
    """Return sum over edges of E[cost] [], for independent edges [edges, operations] each."""
    return (probabilities * costs).sum()
