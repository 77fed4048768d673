"""The compiled back end: all edges that leave one node are one autograd operation.

`edges_from` is the functional entry point; `branch_of` says which operations the kernel knows.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks import _kernel
from transnas.networks._kernel import LANES
from transnas.networks._kernel_plan import Branch, Plan
from transnas.networks.separable import DepthwisePointwise, SeparableConv

__all__ = ["branch_of", "edges_from", "is_usable"]

_BORDER = 4
"""The largest padding that the kernel has room for."""


def is_usable(x: Tensor, channels: int) -> bool:
    """Whether the kernel can run on float32 like x in the CPU's memory, for so many channels."""
    return (
        x.device.type == "cpu"
        and x.dtype == torch.float32
        and channels % LANES == 0
        and not torch.is_autocast_enabled("cpu")
        and not torch._C._are_functorch_transforms_active()
    )


def branch_of(module: nn.Module, edge: int, first: int = 0) -> tuple[Branch, list[Tensor]] | None:
    """Return the branch and weights of an operation; None: the kernel does not know it.

    These are to become parameters of the call from number `first` on.
    """
    units = [module.first, module.second] if isinstance(module, SeparableConv) else [module]
    known = [u for u in units if isinstance(u, DepthwisePointwise) and _fits(u)]
    if len(known) < len(units):
        return None
    weights = [w for u in known for w in (u.depthwise.weight, u.pointwise.weight)]
    one, places = known[0], tuple(range(first, first + len(weights)))
    return Branch(0, edge, one.kernel, one.dilation, len(known), one.stride, places), weights


def _fits(unit: DepthwisePointwise) -> bool:
    return (
        unit.kernel in (3, 5, 7)
        and unit.dilation * (unit.kernel - 1) // 2 <= _BORDER
        and unit.pointwise.in_channels == unit.pointwise.out_channels
        and not unit.norm.affine
        and not unit.norm.track_running_stats
    )


def edges_from(
    plan: Plan,
    x: Tensor,
    weights: Tensor,
    shares: Tensor,
    shared: Sequence[Tensor],
    parameters: Sequence[Tensor],
) -> list[Tensor]:
    """Return the output of each of E edges, [n, B C, H', W'], channels last.

    x [n, B C, H, W] has the C channels (a multiple of 8) of B tasks, in float32; H' and W' are
    H / stride and W / stride, rounded up. Edge e of a task is the sum over its branches b of
    weights_b times the normalised result, plus the sum over s of shares[task, e, s] shared_s, where
    weights has a number for each branch of the plan. `parameters` are convolution weights:
    depthwise [..., C, 1, k, k] and pointwise [..., C, C, 1, 1], and scale and shift of
    normalisations [..., C]. Differentiable once in every tensor; a backward pass that is to be
    differentiated again (`create_graph`) raises `InputError`.
    """
    shared = [s.contiguous(memory_format=torch.channels_last) for s in shared]
    x = x.contiguous(memory_format=torch.channels_last)
    out: tuple[Tensor, ...] = _Edges.apply(plan, x, weights, shares, *shared, *parameters)
    return list(out)


class _Edges(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Plan, x: Tensor, weights: Tensor, shares: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        weights, shares = weights.contiguous(), shares.contiguous()
        rest = (*rest[: plan.terms], *(p.contiguous() for p in rest[plan.terms :]))
        size = _size(plan, x)
        outs = [_map(x, size) for _ in range(plan.edges)]
        numbers = 2 * (outs[0].numel() // plan.tasks) + 4 * plan.channels
        # One by one: the allocator reuses small blocks, and returns a large one to the system.
        kept = [x.new_empty(numbers) for _ in range(plan.units)]
        table = plan.table.filled(rest[plan.terms :], kept)
        _kernel.load(plan.channels).transnas_edges_forward(
            *_common(plan, x, table, weights, shares, rest[: plan.terms]), _pointers(outs)
        )
        ctx.plan = plan
        ctx.save_for_backward(x, weights, shares, *kept, *rest)
        return tuple(outs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            # `once_differentiable` would only object on the way to this call's own inputs, and
            # count what is returned as constant on all others.
            raise InputError(
                "backend 'compiled' has no second derivatives, which create_graph asks for; "
                "accepted: Form(backend='torch')"
            )
        plan: Plan = ctx.plan
        x, weights, shares, *saved = ctx.saved_tensors
        kept, rest = saved[: plan.units], saved[plan.units :]
        wanted = _wanted(ctx)
        needs_x, needs_shared = wanted[0], wanted[3 : 3 + plan.terms]
        needs_weights = any(wanted[3 + plan.terms :])
        size = _size(plan, x)
        gs = [
            _map(x, size).zero_() if g is None else g.contiguous(memory_format=torch.channels_last)
            for g in gradients
        ]
        parameters = rest[plan.terms :]
        by_parameter = [torch.zeros_like(p) for p in parameters] if needs_weights else []
        by_x = _map(x, tuple(x.shape)) if needs_x else None
        by_weight, by_share = torch.empty_like(weights), torch.empty_like(shares)
        by_shared = [_map(x, size) if need else None for need in needs_shared]
        table = plan.table.filled(parameters, kept, by_parameter)
        _kernel.load(plan.channels).transnas_edges_backward(
            *_common(plan, x, table, weights, shares, rest[: plan.terms]),
            _pointers(gs),
            ctypes.c_int64(needs_weights),
            _pointer(by_x),
            _pointer(by_weight),
            _pointer(by_share),
            _pointers(by_shared),
        )
        skipped = [None] * len(parameters)
        return (None, by_x, by_weight, by_share, *by_shared, *(by_parameter or skipped))


def _wanted(ctx: Any) -> list[bool]:
    """Return which inputs the backward pass that is running needs the gradient of.

    Less than what requires one: a pass for the logits alone skips all weights.
    """
    found = []
    for node, _ in ctx.next_functions:
        try:
            found.append(node is not None and torch._C._will_engine_execute_node(node))
        except RuntimeError:  # `autograd.grad` captures this leaf
            found.append(True)
    return found


def _size(plan: Plan, x: Tensor) -> tuple[int, ...]:
    """Return the shape of an edge's output."""
    return (*x.shape[:2], -(-x.shape[2] // plan.stride), -(-x.shape[3] // plan.stride))


def _map(like: Tensor, size: Sequence[int]) -> Tensor:
    return torch.empty(
        tuple(size), dtype=like.dtype, device=like.device, memory_format=torch.channels_last
    )


def _pointer(tensor: Tensor | None) -> ctypes.c_void_p:
    return ctypes.c_void_p(None if tensor is None else tensor.data_ptr())


def _pointers(tensors: Sequence[Tensor | None]) -> Any:
    addresses = [None if t is None else t.data_ptr() for t in tensors]
    return (ctypes.c_void_p * max(1, len(addresses)))(*addresses)


def _common(
    plan: Plan,
    x: Tensor,
    table: npt.NDArray[np.int64],
    weights: Tensor,
    shares: Tensor,
    shared: Sequence[Tensor],
) -> tuple[Any, ...]:
    """Return the arguments that both passes begin with."""
    return (
        (ctypes.c_int64 * 6)(len(x), plan.channels, *x.shape[2:], plan.stride, plan.tasks),
        _pointer(x),
        ctypes.c_int64(len(plan.branches)),
        ctypes.c_void_p(table.ctypes.data),
        _pointer(weights),
        ctypes.c_int64(plan.edges),
        ctypes.c_int64(plan.terms),
        _pointers(shared),
        _pointer(shares),
    )
