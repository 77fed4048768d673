"""The meta-trained supernet: every edge of two DARTS cells mixes all operations, for many tasks.

All edges that leave one state are computed together (source by source): a convolution of E edges
of B tasks is one convolution of E B C channels, and what has no parameters is computed once. The
weight of an operation is the scale of its last normalisation. Under `FusedStatistics` the compiled
kernel of the supernets computes the convolutions of all tasks in one call.
"""

from __future__ import annotations

from functools import lru_cache, reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.networks._kernel_plan import Branch, Plan
from transnas.networks._source_major import edges_from
from transnas.networks.few_shot._functional import (
    FusedStatistics,
    Norm,
    Params,
    conv,
    depthwise,
    split_channels,
)
from transnas.networks.few_shot._network import LOGITS
from transnas.networks.few_shot._reduce import factorized_reduce
from transnas.networks.few_shot._two_cells import CELLS, EDGES, TwoCells
from transnas.spaces.darts import NODES, OPERATIONS
from transnas.tasks import Signature

__all__ = ["FewShotSupernet"]

_CONVOLUTIONS = {
    "sep_conv_3x3": (3, 1, 2),
    "sep_conv_5x5": (5, 1, 2),
    "dil_conv_3x3": (3, 2, 1),
    "dil_conv_5x5": (5, 2, 1),
}
"""Kernel, dilation, and how often depthwise and pointwise convolution are applied."""


class FewShotSupernet(TwoCells):
    """Stem, mixed normal cell, mixed reduction cell, head; `logits` [28, 8] are parameters.

    Rows of the logits: the normal cell's edges, then the reduction cell's, as in
    `darts_supernet`. With 16 channels on 84x84 colour images and 5 classes: 201,181 weights.
    """

    affine = False

    def __init__(
        self, signature: Signature, channels: int = 16, poolings: int | None = None
    ) -> None:
        super().__init__(signature, channels, poolings)
        self.shapes[LOGITS] = (2 * len(EDGES), len(OPERATIONS))

    def _cell(self, index: int, channels: int) -> None:
        stride = CELLS[index][1]
        for state in range(NODES + 1):
            name, edges = f"cells.{index}.sources.{state}", len(_rows(state))
            for op, (kernel, _, times) in _CONVOLUTIONS.items():
                for i in range(times):
                    self.shapes[f"{name}.{op}.{i}.depthwise"] = (edges, channels, 1, kernel, kernel)
                    self.shapes[f"{name}.{op}.{i}.pointwise"] = (edges, channels, channels, 1, 1)
            if stride == 2 and state < 2:
                for half in ("even", "odd"):
                    shape = (edges, channels // 2, channels, 1, 1)
                    self.shapes[f"{name}.skip_connect.{half}"] = shape

    def _nodes(self, params: Params, index: int, states: list[Tensor], norm: Norm) -> list[Tensor]:
        stride = CELLS[index][1]
        first = index * len(EDGES)
        weights = params[LOGITS][:, first : first + len(EDGES)].softmax(dim=2)
        sums: dict[int, Tensor] = {}
        for state in range(NODES + 1):
            x = states[state] if state < 2 else sums[state]
            rows = _rows(state)
            name, own = f"cells.{index}.sources.{state}", weights[:, rows]
            out = self._source(params, name, x, own, stride if state < 2 else 1, norm)
            for row, term in zip(rows, out, strict=True):
                node = EDGES[row][1]
                sums[node] = sums[node] + term if node in sums else term
        return [sums[node] for node in range(2, NODES + 2)]

    def _source(
        self, params: Params, name: str, x: Tensor, weights: Tensor, stride: int, norm: Norm
    ) -> list[Tensor]:
        """Map [n, B C, H, W], weights [B, E, 8] -> outputs of E edges, [n, B C, H', W'] each."""
        if isinstance(norm, FusedStatistics) and self.fuses(x):
            return self._fused(params, name, x, weights, stride, norm)
        tasks, edges, _ = weights.shape
        channels = x.shape[1] // tasks
        share = dict(zip(OPERATIONS, weights.unbind(2), strict=True))
        rectified = F.relu(x)
        wide = torch.cat([rectified] * edges, dim=1)

        def scaled(op: str) -> Tensor:
            """Return an operation's weights as scales of E B C channels."""
            return share[op].t().reshape(-1).repeat_interleave(channels)

        terms = []
        for op, (_, dilation, times) in _CONVOLUTIONS.items():
            out = wide
            for i in range(times):
                out = F.relu(out) if i else out
                kernel = _by_edge(params[f"{name}.{op}.{i}.depthwise"])
                out = depthwise(out, kernel, 1 if i else stride, dilation)
                out = conv(out, _by_edge(params[f"{name}.{op}.{i}.pointwise"]))
                last = i == times - 1
                out = norm(f"{name}.{op}.{i}.norm", out, scaled(op) if last else None)
            terms.append(out)
        if stride == 2:
            terms.append(torch.cat(self._skips(params, name, rectified, weights, norm), dim=1))
        total = split_channels(reduce(torch.add, terms), edges, tasks, channels)
        shared = _pooled(name, x, stride, norm)
        if stride == 1:
            shared["skip_connect"] = x
        for op, out in shared.items():
            once = split_channels(out, 1, tasks, channels)
            total = total + once * share[op].t()[:, :, None, None, None]
        return [term.flatten(1, 2) for term in total.unbind(1)]

    def _fused(
        self, params: Params, name: str, x: Tensor, weights: Tensor, stride: int, norm: Norm
    ) -> list[Tensor]:
        """Do what `_source` does, the convolutions of all tasks by one call of the kernel."""
        tasks, edges, _ = weights.shape
        shared = _pooled(name, x, stride, norm)
        if stride == 1:
            shared["skip_connect"] = x
        parameters = [
            params[f"{name}.{op}.{i}.{part}"]
            for op, (_, _, times) in _CONVOLUTIONS.items()
            for i in range(times)
            for part in ("depthwise", "pointwise")
        ]
        plan = _plan(x.shape[1] // tasks, tasks, edges, len(shared), stride)
        own = weights[..., [OPERATIONS.index(op) for op in _CONVOLUTIONS]].flatten()
        shares = weights[..., [OPERATIONS.index(op) for op in shared]]
        outs = edges_from(plan, x, own, shares, list(shared.values()), parameters)
        if stride == 1:
            return outs
        skips = self._skips(params, name, F.relu(x), weights, norm)
        return [o + skip for o, skip in zip(outs, skips, strict=True)]

    def _skips(
        self, params: Params, name: str, rectified: Tensor, weights: Tensor, norm: Norm
    ) -> list[Tensor]:
        """Return the weighted factorised reductions of E edges, [n, B C, H / 2, W / 2] each."""
        halves = [params[f"{name}.skip_connect.{half}"] for half in ("even", "odd")]
        skip = factorized_reduce(rectified, *halves)
        share = weights[:, :, OPERATIONS.index("skip_connect")]
        scale = share[:, :, None].expand(-1, -1, rectified.shape[1] // len(weights))
        out = norm(f"{name}.skip_connect.norm", skip, scale)
        return [o.flatten(1, 2) for o in split_channels(out, *scale.shape).unbind(2)]


@lru_cache(maxsize=64)
def _plan(channels: int, tasks: int, edges: int, terms: int, stride: int) -> Plan:
    """Return what the kernel computes of one source; parameters in the order of the operations."""
    places, first = {}, 0
    for op, (_, _, times) in _CONVOLUTIONS.items():
        places[op] = tuple(range(first, first + 2 * times))
        first += 2 * times
    branches = tuple(
        Branch(b, e, kernel, dilation, times, stride, places[op], b * edges + e)
        for b in range(tasks)
        for e in range(edges)
        for op, (kernel, dilation, times) in _CONVOLUTIONS.items()
    )
    return Plan(branches, channels, tasks, edges, terms, stride)


def _rows(state: int) -> list[int]:
    """Return the rows, within a cell, of the edges that leave `state`."""
    return [row for row, (source, _) in enumerate(EDGES) if source == state]


def _pooled(name: str, x: Tensor, stride: int, norm: Norm) -> dict[str, Tensor]:
    """Return what all edges of a source share: its normalised poolings."""
    pooled = {
        "max_pool_3x3": F.max_pool2d(x, 3, stride, 1),
        "avg_pool_3x3": F.avg_pool2d(x, 3, stride, 1, count_include_pad=False),
    }
    return {op: norm(f"{name}.{op}.norm", pool) for op, pool in pooled.items()}


def _by_edge(weight: Tensor) -> Tensor:
    """[B, E, ...] -> [E B, ...]."""
    return weight.transpose(0, 1).flatten(0, 1)
