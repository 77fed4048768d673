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
    """Return how many weights kernels of each operation have over all cells, [edges, operations].

    Raises `InputError` where operations have none of their own.
    """
    costs = torch.zeros_like(net.logits, requires_grad=False)
    for row, code, operation in operations(net):
        costs[row, code] = parameters(operation)
    if not bool(costs.any()):
        raise InputError(
            f"operations of space {net.space.name!r} have no weights of their own to count; "
            "accepted: a search whose loss counts none"
        )
    return costs


def table_costs(net: Supernet, table: Mapping[str, float]) -> Tensor:
    """Return the cost that `table` gives each operation by name, [edges, operations].

    It is 0 for operations that an edge does not have. Raises `InputError` for one that it lacks.
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
