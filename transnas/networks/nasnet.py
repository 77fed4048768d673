"""The networks of NASNet and PNAS cells: CIFAR and ImageNet stems, three stages of cells.

Zoph et al., "Learning Transferable Architectures" (CVPR 2018), and Liu et al., "Progressive Neural
Architecture Search" (ECCV 2018), with the wiring of their published code. State 0 of a cell is the
newer input. Deviations: same-padding is symmetric, batch normalisation has torch's defaults, there
is no auxiliary head, and the older input of every cell but the first is projected, also where its
channels happen to agree (so that cells of a supernet are those of the network).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas._errors import InputError
from transnas.networks._registry import positive, register, skeleton_from
from transnas.networks.operations import FactorizedReduce, Mode, ReLUConvBN, drop_path
from transnas.networks.separable import cell_operation
from transnas.spaces import Architecture, Space
from transnas.spaces.nasnet import Cell as CellPlan
from transnas.spaces.nasnet import CellSpace
from transnas.tasks import Signature

__all__ = [
    "Cell",
    "Frame",
    "Inputs",
    "Layer",
    "Network",
    "Skeleton",
    "build",
    "build_pnas",
    "nasnet_layers",
    "nasnet_operation",
    "pnas_layers",
]

Plan = TypeVar("Plan")
"""What a layer's cell is made from: its blocks, or in a supernet its kind."""
_STEMS = ("cifar", "imagenet")
_STAGES = 3
_STEM_KERNEL = 3
"""Pixels a side of the first convolution, which the ImageNet stem does not pad."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the defaults are the published NASNet-A for CIFAR-10, 6 @ 768."""

    filters: int = 32
    """Filters of the first stage; each later stage has twice as many."""
    cells: int = 6
    """Cells a stage; NASNet adds reduction cells between stages."""
    stem_channels: int = 96
    """Channels of the first convolution: published with 3 x filters, ImageNet 32 or 96."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """`imagenet` has a stride in the first convolution and two stride-2 cells after it."""

    def __post_init__(self) -> None:
        for name in ("filters", "cells", "stem_channels"):
            positive(name, getattr(self, name))
        if self.stem not in _STEMS:
            raise InputError(
                f"skeleton setting 'stem' is {self.stem!r}; accepted: {', '.join(_STEMS)}"
            )


def suggest(signature: Signature) -> dict[str, Any]:
    """Return a small skeleton for maps up to 16x16, the mobile ImageNet one above 64x64."""
    side = max(signature.input_shape[1:])
    if side <= 16:
        return {"filters": 16, "cells": 1, "stem_channels": 48}
    if side > 64 and min(signature.input_shape[1:]) >= _STEM_KERNEL:
        return {"filters": 44, "cells": 4, "stem_channels": 32, "stem": "imagenet"}
    return {}


@dataclass(frozen=True, slots=True)
class Layer(Generic[Plan]):
    """One cell of a network: its plan, its filters, its stride."""

    plan: Plan
    filters: int
    stride: int


def nasnet_layers(normal: Plan, reduction: Plan, skeleton: Skeleton) -> list[Layer[Plan]]:
    """Return stages of normal cells, with a reduction cell before each but the first."""
    layers = _stem_layers(reduction, skeleton)
    for stage in range(_STAGES):
        filters = skeleton.filters * 2**stage
        layers += [Layer(reduction, filters, 2)] if stage else []
        layers += [Layer(normal, filters, 1)] * skeleton.cells
    return layers


def pnas_layers(plan: Plan, skeleton: Skeleton) -> list[Layer[Plan]]:
    """Return stages of one cell, each but the first beginning with stride 2."""
    layers = _stem_layers(plan, skeleton)
    for stage in range(_STAGES):
        filters = skeleton.filters * 2**stage
        layers += [Layer(plan, filters, 2 if stage else 1)]
        layers += [Layer(plan, filters, 1)] * (skeleton.cells - 1)
    return layers


def _stem_layers(plan: Plan, skeleton: Skeleton) -> list[Layer[Plan]]:
    if skeleton.stem == "cifar":
        return []
    return [Layer(plan, max(1, skeleton.filters // part), 2) for part in (4, 2)]


@dataclass(frozen=True, slots=True)
class Inputs:
    """Channels of a cell's two inputs, and how much larger the map of the older one is."""

    newer: int
    older: int
    older_stride: int
    first: bool
    """The first cell of a network has one input; it reads it unprojected as its older one."""

    def modules(self, filters: int, mode: Mode) -> dict[str, nn.Module]:
        """Return what brings both to one size, and to `filters` channels if not `first`."""
        newer = ReLUConvBN(self.newer, filters, 1, 1, mode)
        if self.first:
            return {"newer": newer, "older": nn.Identity()}
        if self.older_stride == 2:
            return {"newer": newer, "older": FactorizedReduce(self.older, filters, mode)}
        return {"newer": newer, "older": ReLUConvBN(self.older, filters, 1, 1, mode)}

    def channels(self, filters: int) -> tuple[int, int]:
        """Return the channels of states 0 and 1."""
        return filters, self.older if self.first else filters


class Cell(nn.Module):
    """One cell. Channel counts that disagree are settled by 1x1 convolutions."""

    def __init__(self, layer: Layer[CellPlan], inputs: Inputs) -> None:
        super().__init__()
        plan, filters = layer.plan, layer.filters
        self.plan = plan
        self.drop_path = 0.0
        for name, module in inputs.modules(filters, Mode()).items():
            self.add_module(name, module)
        channels = list(inputs.channels(filters))
        self.edges = nn.ModuleList()
        for block in plan.blocks:
            for state, op in block.pairs:
                stride = layer.stride if state < 2 else 1
                self.edges.append(nasnet_operation(op, channels[state], filters, stride, Mode()))
            channels.append(filters * (2 if block.combiner == "concat" else 1))
        self.kept = nn.ModuleList(
            _match(channels[s], filters, layer.stride) if s < 2 else nn.Identity()
            for s in plan.outputs
        )
        self.channels = sum(filters if s < 2 else channels[s] for s in plan.outputs)

    def forward(self, newer: Tensor, older: Tensor) -> Tensor:
        """[B, C1, H, W], [B, C0, H0, W0] -> [B, channels, ceil(H / stride), ceil(W / stride)].

        In training an edge that is no identity is dropped with probability `drop_path` an image.
        """
        states = [self.get_submodule("newer")(newer), self.get_submodule("older")(older)]
        edges = iter(self.edges)
        for block in self.plan.blocks:
            one, two = (self._edge(next(edges), states[s]) for s, _ in block.pairs)
            states.append(torch.cat([one, two], 1) if block.combiner == "concat" else one + two)
        outputs = zip(self.plan.outputs, self.kept, strict=True)
        return torch.cat([keep(states[s]) for s, keep in outputs], dim=1)

    def _edge(self, edge: nn.Module, x: Tensor) -> Tensor:
        out: Tensor = edge(x)
        kept = not self.training or self.drop_path == 0.0 or isinstance(edge, nn.Identity)
        return out if kept else drop_path(out, self.drop_path)


def _match(channels_in: int, channels_out: int, stride: int) -> nn.Module:
    """Return what brings a state to `channels_out` and a map `stride` times smaller."""
    if stride == 2:
        return FactorizedReduce(channels_in, channels_out, Mode())
    if channels_in != channels_out:
        return ReLUConvBN(channels_in, channels_out, 1, 1, Mode())
    return nn.Identity()


def nasnet_operation(
    name: str, channels_in: int, channels_out: int, stride: int, mode: Mode
) -> nn.Module:
    """Return the operation as NASNet defines it: pools of any size, strided identity as 1x1."""
    if name == "skip_connect":
        if stride == 1 and channels_in == channels_out:
            return nn.Identity()
        return ReLUConvBN(channels_in, channels_out, 1, stride, mode)
    pool = re.fullmatch(r"(avg|max)_pool_([357])x\2", name)
    if pool is None:
        return cell_operation(name, channels_in, channels_out, stride, mode)
    kernel = int(pool[2])
    pooling = (
        nn.MaxPool2d(kernel, stride, kernel // 2)
        if pool[1] == "max"
        else nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)
    )
    if channels_in == channels_out:
        return pooling
    change = nn.Conv2d(channels_in, channels_out, 1, bias=False)
    return nn.Sequential(pooling, change, mode.norm(channels_out))


class Frame(nn.Module):
    """Stem, the cells that `make` builds, classifier; a cell reads the outputs of two before it.

    A cell says in `channels` how many its output has.
    """

    def __init__(
        self,
        layers: Sequence[Layer[Plan]],
        make: Callable[[Layer[Plan], Inputs], nn.Module],
        signature: Signature,
        skeleton: Skeleton,
        tracks: bool = True,
    ) -> None:
        """`tracks` says whether the stem's normalisation keeps running statistics."""
        super().__init__()
        channels = skeleton.stem_channels
        image, height, width = signature.input_shape
        if skeleton.stem == "imagenet" and min(height, width) < _STEM_KERNEL:
            raise InputError(
                f"skeleton setting 'stem' is 'imagenet', but images of {width}x{height} pixels are "
                f"too small for it; accepted: at least {_STEM_KERNEL} pixels a side"
            )
        stride, padding = (1, 1) if skeleton.stem == "cifar" else (2, 0)
        self.stem = nn.Sequential(
            nn.Conv2d(image, channels, _STEM_KERNEL, stride, padding, bias=False),
            nn.BatchNorm2d(channels, track_running_stats=tracks),
        )
        self.cells = nn.ModuleList()
        widths = [channels]
        before = [Layer(layers[0].plan, channels, 1), *layers]
        for previous, layer in itertools.pairwise(before):
            older = widths[max(0, len(widths) - 2)]
            first = len(widths) == 1
            cell = make(layer, Inputs(widths[-1], older, previous.stride, first))
            self.cells.append(cell)
            widths.append(int(cell.channels))  # type: ignore[arg-type]
        self.head = nn.Linear(widths[-1], signature.outputs)

    def run(self, x: Tensor, *extra: Any) -> Tensor:
        """[B, C, H, W] -> [B, outputs]; cells are given `extra`."""
        older = newer = self.stem(x)
        for cell in self.cells:
            older, newer = newer, cell(newer, older, *extra)
        out: Tensor = self.head(F.relu(newer).mean(dim=(2, 3)))
        return out


class Network(Frame):
    """The network of planned cells.

    `drop_path` may be set during training (ScheduledDropPath: it grows linearly with the step);
    cell l of L drops with l / L of it.
    """

    def __init__(
        self, layers: Sequence[Layer[CellPlan]], signature: Signature, skeleton: Skeleton
    ) -> None:
        super().__init__(layers, Cell, signature, skeleton)
        self.drop_path = 0.0

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        for i, cell in enumerate(self.cells, start=1):
            cell.drop_path = self.drop_path * i / len(self.cells)  # type: ignore[assignment]
        return self.run(x)


@register("nasnet", suggest)
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of a pair of NASNet cells; keywords are the fields of `Skeleton`."""
    assert isinstance(space, CellSpace)
    settings, cells = skeleton_from(Skeleton, skeleton), space.cells(arch)
    return Network(nasnet_layers(cells["normal"], cells["reduce"], settings), signature, settings)


@register("pnas", suggest)
@register("pnas-growing", suggest)
def build_pnas(
    space: Space, arch: Architecture, signature: Signature, **skeleton: Any
) -> nn.Module:
    """Return the network of a PNAS cell; keywords are the fields of `Skeleton`."""
    assert isinstance(space, CellSpace)
    settings = skeleton_from(Skeleton, skeleton)
    return Network(pnas_layers(space.cells(arch)["cell"], settings), signature, settings)
