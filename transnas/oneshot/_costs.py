"""What the operations of a supernet cost, and the expected cost of an architecture."""

from __future__ import annotations

import torch
from torch import Tensor

from transnas.networks import MixedEdges, Supernet

__all__ = ["expected_cost", "parameter_costs"]


def parameter_costs(net: Supernet) -> Tensor:
    """Return the parameters of each operation summed over all cells, [edges, operations].

    Relative to the dearest architecture: the largest cost of each edge, summed, is 1.
    """
    costs = torch.zeros_like(net.logits, requires_grad=False)
    for module in net.modules():
        if not isinstance(module, MixedEdges):
            continue
        for row, edge in module.edges.items():
            for name, operation in edge.named_children():
                size = sum(p.numel() for p in operation.parameters())
                costs[int(row), module.operations.index(name)] += size
    most = costs.max(dim=1).values.sum()
    return costs / most if most > 0 else costs


def expected_cost(probabilities: Tensor, costs: Tensor) -> Tensor:
    """Return sum over edges of E[cost] [], for independent edges [edges, operations] each."""
    return (probabilities * costs).sum()
