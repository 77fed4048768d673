"""The network of NAS-Bench-201: stem, three stages of cells, residual blocks between them.

Dong & Yang, "NAS-Bench-201" (ICLR 2020), figure 1. With 16 channels and 5 cells a stage it is the
published network, to the parameter. Deviations: maps of odd size are halved upwards (the
published shortcut drops a row), and the stem may have a stride, for large images.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas.networks._heads import KINDS, attach
from transnas.networks._mixed import MixedEdges, NodeSums, PartialChannels, recomputed
from transnas.networks._registry import positive, register, skeleton_from
from transnas.networks._supernet import SEARCH, Form, Operation, RowsAreChoices, register_supernet
from transnas.networks.operations import Mode, ReLUConvBN, Zero, initialise, operation
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Architecture, Space
from transnas.spaces.nasbench201 import EDGES, OPERATIONS
from transnas.tasks import Signature

__all__ = ["NASBench201Supernet", "Skeleton", "build", "flops", "parameters"]

_NODES = 4
_STAGES = 3


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the defaults are the published network."""

    channels: int = 16
    """Channels of the first stage; each later stage has twice as many."""
    cells: int = 5
    """Cells a stage."""
    stem_stride: int = 1
    """Stride of the first convolution: 2 or 4 make images of more than 64 pixels affordable."""
    pyramid: int = 64
    """Detection: channels of the feature pyramid."""
    head: int = 256
    """Detection: units of the box head."""

    def __post_init__(self) -> None:
        for name in ("channels", "cells", "stem_stride", "pyramid", "head"):
            positive(name, getattr(self, name))

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.channels * 2**stage for stage in range(_STAGES))

    def maps(self, signature: Signature) -> tuple[int, ...]:
        """Pixels of each stage's map."""
        height, width = signature.input_shape[1:]
        return tuple(-(-height // s) * -(-width // s) for s in self.strides)

    @property
    def strides(self) -> tuple[int, ...]:
        """Reduction of each stage's map."""
        return tuple(self.stem_stride * 2**stage for stage in range(_STAGES))


def suggest(signature: Signature) -> dict[str, int]:
    """Return the published skeleton for maps around 32x32, fewer cells below, a stride above.

    Detection and segmentation have one cell a stage, and maps of at most 32 pixels a side.
    """
    side = max(signature.input_shape[1:])
    if side <= 16:
        return {"channels": 16, "cells": 1}
    if signature.kind != "classification":
        return {"cells": 1, "stem_stride": 2 ** max(0, (side - 1).bit_length() - 5)}
    return {"stem_stride": 2 ** max(0, (side - 1).bit_length() - 6)}


class Cell(nn.Module):
    """Four nodes; node j sums the operations on the edges from nodes i < j."""

    def __init__(self, operations: tuple[str, ...], channels: int, mode: Mode) -> None:
        super().__init__()
        self.edges = nn.ModuleList(operation(o, channels, channels, 1, mode) for o in operations)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        nodes = [x]
        for j in range(1, _NODES):
            terms = [
                edge(nodes[i])
                for (i, target), edge in zip(EDGES, self.edges, strict=True)
                if target == j and not isinstance(edge, Zero)
            ]
            total = torch.zeros_like(x) if not terms else terms[0]
            for term in terms[1:]:
                total = total + term
            nodes.append(total)
        return nodes[-1]


class Reduction(nn.Module):
    """The residual block between stages: half the map, twice the channels; not searched."""

    def __init__(self, channels_in: int, channels_out: int, mode: Mode) -> None:
        super().__init__()
        self.first = ReLUConvBN(channels_in, channels_out, 3, 2, mode)
        self.second = ReLUConvBN(channels_out, channels_out, 3, 1, mode)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C_in, H, W] -> [B, C_out, ceil(H / 2), ceil(W / 2)]."""
        small = F.avg_pool2d(x, 2, 2, ceil_mode=True)
        out: Tensor = self.shortcut(small) + self.second(self.first(x))
        return out


class _Frame(nn.Module):
    """What is not searched, around cells that `cell` builds from their width."""

    def __init__(
        self,
        cell: Callable[[int], nn.Module],
        signature: Signature,
        skeleton: Skeleton,
        mode: Mode,
    ) -> None:
        super().__init__()
        channels, tracks = skeleton.channels, mode.track_running_stats
        self.stem = nn.Sequential(
            nn.Conv2d(signature.input_shape[0], channels, 3, skeleton.stem_stride, 1, bias=False),
            nn.BatchNorm2d(channels, track_running_stats=tracks),
        )
        body: list[nn.Module] = []
        for stage, width in enumerate(skeleton.widths):
            if stage:
                body.append(Reduction(width // 2, width, Mode(track_running_stats=tracks)))
            body += [cell(width) for _ in range(skeleton.cells)]
        self.body = nn.Sequential(*body)
        self.norm = mode.norm(skeleton.widths[-1])
        self.channels, self.strides = skeleton.widths, skeleton.strides
        self.head: nn.Module | None = None
        if signature.kind == "classification":
            self.head = nn.Linear(skeleton.widths[-1], signature.outputs)

    def run(self, x: Tensor, *mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs]; `mix` is for cells that are mixtures."""
        assert self.head is not None
        out: Tensor = self.head(self.stages(x, *mix)[-1].mean(dim=(2, 3)))
        return out

    def stages(self, x: Tensor, *mix: Mix) -> list[Tensor]:
        """[B, C, H, W] -> each stage's features [B, channels, H / stride, W / stride]."""
        x, found = self.stem(x), []
        for layer in self.body:
            if isinstance(layer, Reduction):
                found.append(x)
                x = layer(x)
            else:
                x = layer(x, *mix)
        return [*found, F.relu(self.norm(x))]


class Network(_Frame):
    """The whole network; the cells in `body` compute `operations` on their six edges."""

    def __init__(
        self, operations: tuple[str, ...], signature: Signature, skeleton: Skeleton, mode: Mode
    ) -> None:
        super().__init__(lambda width: Cell(operations, width, mode), signature, skeleton, mode)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        return self.run(x)


class Backbone(Network):
    """The same without classifier, for the heads of other kinds of task."""

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """[B, C, H, W] -> each stage's features."""
        return self.stages(x)


@register("nasbench201", suggest, kinds=KINDS)
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of a NAS-Bench-201 cell; keywords are the fields of `Skeleton`."""
    operations = tuple(OPERATIONS[code] for code in arch.values)
    chosen = skeleton_from(Skeleton, skeleton)
    kind = Network if signature.kind == "classification" else Backbone
    network = kind(operations, signature, chosen, Mode())
    initialise(network)
    if isinstance(network, Backbone):
        return attach(network, signature, chosen.pyramid, chosen.head)
    return network


class MixedCell(nn.Module):
    """A cell whose six edges are mixtures of the `allowed` operations."""

    def __init__(
        self, channels: int, mode: Mode, form: Form, allowed: Sequence[Sequence[int]]
    ) -> None:
        super().__init__()
        self.checkpoint = form.checkpoint
        self.part = PartialChannels(channels, form.partial)
        width = self.part.channels
        self.sources = nn.ModuleList(
            MixedEdges(
                [e for e, (source, _) in enumerate(EDGES) if source == i],
                OPERATIONS,
                lambda name: operation(name, width, width, 1, mode),
                allowed,
                form.backend,
            )
            for i in range(_NODES - 1)
        )

    def forward(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        return recomputed(self._nodes, x, mix) if self.checkpoint else self._nodes(x, mix)

    def _nodes(self, x: Tensor, mix: Mix) -> Tensor:
        sums, zeros = NodeSums(mix, self.part.parts), torch.zeros_like(x)
        for i, edges in enumerate(self.sources):
            assert isinstance(edges, MixedEdges)
            source = x if i == 0 else sums.get(i, zeros)
            sums.collect(edges, source, self.part, lambda row: EDGES[row][1])
        return sums.get(_NODES - 1, zeros)


@register_supernet("nasbench201")
class NASBench201Supernet(RowsAreChoices):
    """All 15,625 cells in one network; all cells of the network share logits and sample."""

    has_edges = True

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        chosen = skeleton_from(Skeleton, skeleton)
        available = [range(len(OPERATIONS))] * len(EDGES)
        super().__init__(
            space, signature, relaxation, form, available, asdict(chosen), nodes=range(1, _NODES)
        )
        self.network = _Frame(
            lambda width: MixedCell(width, SEARCH, form, self.allowed), signature, chosen, SEARCH
        )
        initialise(self)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the edge weights of `mix` [6, 5]."""
        return self.network.run(x, mix)

    def stages(self, x: Tensor, mix: Mix) -> list[Tensor]:
        """[B, C, H, W] -> each stage's features under the edge weights of `mix`."""
        return self.network.stages(x, mix)

    @property
    def outline(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and strides of `stages`."""
        return self.network.channels, self.network.strides

    def operation(self, row: int, code: int) -> Operation:
        """Return the operation of an edge, with its modules in all cells."""
        own: tuple[nn.Module, ...] = ()
        for cell in self.network.body:
            if isinstance(cell, MixedCell):
                edges = cell.sources[EDGES[row][0]]
                assert isinstance(edges, MixedEdges)
                own += edges.own(row, code)
        return Operation(OPERATIONS[code], own)

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return e.g. `network.body.0.sources.1.edges.4.nor_conv_1x1.` for `body.0.edges.4.`."""

        def inner(match: re.Match[str]) -> str:
            edge = int(match[1])
            code = codes[edge]
            assert code is not None
            return f"sources.{EDGES[edge][0]}.edges.{edge}.{OPERATIONS[code]}."

        return "network." + re.sub(r"edges\.(\d)\.", inner, name)


def parameters(arch: Architecture, signature: Signature, skeleton: Skeleton = Skeleton()) -> int:
    """Return the exact number of trainable parameters, by formula."""
    n1, n3 = _convolutions(arch)
    widths = skeleton.widths
    total = 9 * signature.input_shape[0] * widths[0] + 2 * widths[0]
    for c in widths:
        total += skeleton.cells * (n3 * (9 * c * c + 2 * c) + n1 * (c * c + 2 * c))
    for small, c in itertools.pairwise(widths):
        total += 9 * small * c + 9 * c * c + 4 * c + small * c
    return total + 2 * widths[-1] + (widths[-1] + 1) * signature.outputs


def flops(arch: Architecture, signature: Signature, skeleton: Skeleton = Skeleton()) -> int:
    """Return the FLOPs of one image, by formula, counted as the benchmark does: multiply-adds.

    Convolutions and the linear layer with its bias; normalisation and pooling are not counted.
    `torch.utils.flop_counter` has two operations a multiply-add and leaves the bias out, so it
    counts 2 (flops - outputs).
    """
    n1, n3 = _convolutions(arch)
    widths, maps = skeleton.widths, skeleton.maps(signature)
    total = 9 * signature.input_shape[0] * widths[0] * maps[0]
    for c, pixels in zip(widths, maps, strict=True):
        total += skeleton.cells * pixels * c * c * (9 * n3 + n1)
    for small, c, pixels in zip(widths, widths[1:], maps[1:], strict=False):
        total += pixels * (9 * small * c + 9 * c * c + small * c)
    return total + (widths[-1] + 1) * signature.outputs


def _convolutions(arch: Architecture) -> tuple[int, int]:
    names = [OPERATIONS[code] for code in arch.values]
    return names.count("nor_conv_1x1"), names.count("nor_conv_3x3")
