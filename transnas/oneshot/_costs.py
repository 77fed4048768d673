"""What the operations of a supernet cost, and the expected cost of an architecture."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from transnas._errors import InputError
from transnas.evaluation._kinds import kind_of
from transnas.networks import MixedEdges, Supernet
from transnas.networks.relaxations import Mix
from transnas.oneshot._indicators import operations, parameters

__all__ = ["COSTS", "Counted", "expected_cost", "flop_costs", "parameter_costs", "table_costs"]

Counted = Literal["parameters", "flops"]
"""What is counted of operations: weights of kernels, or multiply-adds of one image."""


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


def flop_costs(net: Supernet) -> Tensor:
    """Return the multiply-adds of each operation for one image, all cells, [edges, operations].

    Raises `InputError` where operations have no weights of their own.
    """
    costs = torch.zeros_like(parameter_costs(net))  # which raises
    inputs = _inputs(net)
    for row, code, operation in operations(net):
        for module in operation.modules:
            given = inputs[module]
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                module(given)
            costs[row, code] += counter.get_total_flops() / (2 * len(given))
    return costs


COSTS: Mapping[Counted, Callable[[Supernet], Tensor]] = {
    "parameters": parameter_costs,
    "flops": flop_costs,
}


def _inputs(net: Supernet) -> dict[nn.Module, Tensor]:
    """Return what each operation's module is given, for two images of zeros.

    Mixed edges may compute their operations together, so that of those the edges' input counts.
    """
    found: dict[nn.Module, Tensor] = {}
    members: dict[nn.Module, list[nn.Module]] = {}
    for _, _, operation in operations(net):
        members |= {module: [module] for module in operation.modules}
    for edges in net.modules():
        if isinstance(edges, MixedEdges):
            members[edges] = [m for m in edges.modules() if m in members]

    def note(module: nn.Module, given: tuple[Any, ...]) -> None:
        found.update(dict.fromkeys(members[module], given[0]))

    hooks = [module.register_forward_pre_hook(note) for module in members]
    weights = net.logits.masked_fill(net.missing, -math.inf).softmax(dim=1)
    try:
        with torch.no_grad(), net.undropped():
            images = kind_of(net.signature.kind).blank(2, net.signature, net.logits.device)
            net.run(images, Mix(weights))
    finally:
        for hook in hooks:
            hook.remove()
    return found


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
