"""The network of one pair of DARTS cells, as T-NAS trains it after the search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.networks._kernel_plan import Branch, Plan
from transnas.networks._source_major import edges_from
from transnas.networks.few_shot._functional import FusedStatistics, Norm, Params, conv, depthwise
from transnas.networks.few_shot._network import HEAD
from transnas.networks.few_shot._reduce import factorized_reduce
from transnas.networks.few_shot._two_cells import CELLS, TwoCells
from transnas.spaces.darts import NODES, Genotype
from transnas.tasks import Signature

__all__ = ["DecodedNetwork"]


@dataclass(frozen=True)
class _Edge:
    source: int
    target: int
    operation: str
    name: str
    stride: int

    @property
    def parts(self) -> tuple[str, ...]:
        """The convolutions that it applies one after the other."""
        return {"sep": ("first", "second"), "dil": ("first",)}.get(self.operation[:3], ())

    @property
    def kernel(self) -> int:
        return int(self.operation[-1])

    @property
    def dilation(self) -> int:
        return 2 if self.operation.startswith("dil") else 1


class DecodedNetwork(TwoCells):
    """Two cells with one operation an edge, two edges a node; normalisations have scale and shift.

    Neither auxiliary head nor drop path, no normalisation after pooling. With 16 channels on
    84x84 colour images the published Auto-MAML cells have 23,213 and 26,061 parameters.
    """

    affine = True

    def __init__(
        self,
        genotype: Genotype,
        signature: Signature,
        channels: int = 16,
        poolings: int | None = None,
    ) -> None:
        self.plans = [getattr(genotype, kind) for kind, _ in CELLS]
        super().__init__(signature, channels, poolings)

    @property
    def structure(self) -> str:
        """See `FewShotNetwork.structure`; with the cells."""
        return f"{super().structure}, {self.plans}"

    def _edges(self, index: int) -> list[_Edge]:
        """Return the edges of cell `index`, two a node."""
        pairs = [pair for block in self.plans[index].blocks for pair in block.pairs]
        stride = CELLS[index][1]
        return [
            _Edge(state, 2 + e // 2, op, f"cells.{index}.edges.{e}", stride if state < 2 else 1)
            for e, (state, op) in enumerate(pairs)
        ]

    def _cell(self, index: int, channels: int) -> None:
        for edge in self._edges(index):
            name = edge.name
            if edge.operation == "skip_connect" and edge.stride == 2:
                for half in ("even", "odd"):
                    self.shapes[f"{name}.{half}.weight"] = (channels // 2, channels, 1, 1)
                self._affine(f"{name}.norm", channels)
            for part in edge.parts:
                kernel = edge.kernel
                self.shapes[f"{name}.{part}.depthwise"] = (channels, 1, kernel, kernel)
                self.shapes[f"{name}.{part}.pointwise"] = (channels, channels, 1, 1)
                self._affine(f"{name}.{part}.norm", channels)

    def _nodes(self, params: Params, index: int, states: list[Tensor], norm: Norm) -> list[Tensor]:
        edges, states = self._edges(index), list(states)
        terms: dict[int, list[Tensor]] = {state: [] for state in range(2, NODES + 2)}
        for state in range(NODES + 2):
            if state >= 2:
                states.append(reduce(torch.add, terms[state]))
            leaving = [edge for edge in edges if edge.source == state]
            for edge, out in self._leaving(params, leaving, states[state], norm):
                terms[edge.target].append(out)
        return states[2:]

    def _leaving(
        self, params: Params, edges: list[_Edge], x: Tensor, norm: Norm
    ) -> Iterator[tuple[_Edge, Tensor]]:
        """Yield the edges that leave state x, with their outputs."""
        fused: list[_Edge] = []
        if isinstance(norm, FusedStatistics) and self.fuses(x):
            fused = [edge for edge in edges if edge.parts]
            yield from zip(fused, self._fused(params, fused, x), strict=True)
        for edge in edges:
            if edge not in fused:
                yield edge, self._operation(params, edge, x, norm)

    def _fused(self, params: Params, edges: list[_Edge], x: Tensor) -> list[Tensor]:
        """Compute convolutions that leave one state, of all tasks, by one call of the kernel."""
        if not edges:
            return []
        tasks = len(params[f"{HEAD}bias"])
        parameters = [
            params[f"{edge.name}.{part}.{name}"]
            for edge in edges
            for part in edge.parts
            for name in ("depthwise", "pointwise", "norm.scale", "norm.shift")
        ]
        plan = _plan(tuple(edges), x.shape[1] // tasks, tasks)
        weights, shares = x.new_ones(len(plan.branches)), x.new_empty(tasks, len(edges), 0)
        return edges_from(plan, x, weights, shares, [], parameters)

    def _operation(self, params: Params, edge: _Edge, x: Tensor, norm: Norm) -> Tensor:
        op, name, stride = edge.operation, edge.name, edge.stride
        if op == "max_pool_3x3":
            return F.max_pool2d(x, 3, stride, 1)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        if op == "none":
            return torch.zeros_like(x[:, :, ::stride, ::stride])
        if op == "skip_connect" and stride == 1:
            return x
        if op == "skip_connect":
            weights = params[f"{name}.even.weight"], params[f"{name}.odd.weight"]
            out = factorized_reduce(F.relu(x), *weights)
            return norm(f"{name}.norm", out, *self._scaling(params, f"{name}.norm"))
        for part in edge.parts:
            x = depthwise(F.relu(x), params[f"{name}.{part}.depthwise"], stride, edge.dilation)
            x = conv(x, params[f"{name}.{part}.pointwise"])
            x = norm(f"{name}.{part}.norm", x, *self._scaling(params, f"{name}.{part}.norm"))
            stride = 1
        return x


@lru_cache(maxsize=256)
def _plan(edges: tuple[_Edge, ...], channels: int, tasks: int) -> Plan:
    """Return what the kernel computes of one state; parameters in the order of the edges."""
    places, first = [], 0
    for edge in edges:
        places.append(tuple(range(first, first + 4 * len(edge.parts))))
        first += 4 * len(edge.parts)
    branches = tuple(
        Branch(
            task, e, edge.kernel, edge.dilation, len(edge.parts), edge.stride, places[e], task, True
        )
        for task in range(tasks)
        for e, edge in enumerate(edges)
    )
    return Plan(branches, channels, tasks, len(edges), 0, edges[0].stride)
