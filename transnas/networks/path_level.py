"""Networks of tree-structured cells, and the transformations that let them grow while trained.

Cai et al., "Path-Level Network Transformation for Efficient Architecture Search", ICML 2018. Every
edge is convolution, normalisation and ReLU; what the cells do to it are `transformations`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from transnas.networks._registry import positive, register
from transnas.networks.chain import suggest
from transnas.networks.transformations import deeper, replicate, split_layer
from transnas.spaces import Architecture, Space
from transnas.spaces.path_level import PathLevel, Step
from transnas.tasks import Signature

__all__ = ["PathLevelNetwork", "build"]

_NOISE = 0.1
"""Of copies, in deviations of a weight tensor, so that they part in training."""


class PathLevelNetwork(nn.Module):
    """Stem, three stages of cells of one structure, width doubled and maps halved between them.

    A cell keeps its channels. `grow` transforms one edge of every cell in place.
    """

    def __init__(self, signature: Signature, channels: int, cells: int, stem_stride: int) -> None:
        super().__init__()
        self.stem = _layer(signature.input_shape[0], channels, stem_stride)
        self.cells = nn.ModuleList()
        self.downs = nn.ModuleList()
        for stage in range(3):
            width = channels * 2**stage
            self.cells.extend(nn.ModuleList([_layer(width, width)]) for _ in range(cells))
            self.downs.append(_layer(width, 2 * width, 2) if stage < 2 else nn.Identity())
        self.per_stage = cells
        self.head = nn.Linear(4 * channels, signature.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        x = self.stem(x)
        for i, cell in enumerate(self.cells):
            assert isinstance(cell, nn.ModuleList)
            x = cell[0](x)
            if (i + 1) % self.per_stage == 0:
                x = self.downs[i // self.per_stage](x)
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out

    @torch.no_grad()
    def grow(
        self, step: Step, generator: torch.Generator | None = None, noise: float = _NOISE
    ) -> None:
        """Transform the edge that `step` names in every cell.

        In evaluation mode the function stays, but for the `noise` of copies. An edge of one
        channel cannot be parted by `concat`; it becomes the mean of two copies.
        """
        for cell in self.cells:
            owner, name, edge = list(_edges(cell))[step.edge]
            conv = edge[0]
            assert isinstance(conv, nn.Conv2d)
            grown: nn.Module
            if step.move == "add" or (step.move == "concat" and conv.out_channels < 2):
                grown = replicate(edge, 2, generator, noise)
            elif step.move == "concat":
                grown = split_layer(edge, 2)
            else:
                depthwise = step.move == "depthwise5"
                grown = nn.Sequential(
                    edge, deeper(conv.out_channels, 5 if depthwise else 3, depthwise)
                )
            owner.register_module(name, grown.to(conv.weight).train(edge.training))

    def initialise(self) -> None:
        """Draw all weights anew, as a network that is trained from scratch begins."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()


def _layer(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def _edges(module: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Sequential]]:
    """Yield the edges below `module`, depth first, each with its owner and name there."""
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential) and isinstance(child[0], nn.Conv2d):
            yield module, name, child
        else:
            yield from _edges(child)


@register("path-level", suggest)
def build(
    space: Space,
    arch: Architecture,
    signature: Signature,
    channels: int = 16,
    cells: int = 1,
    stem_stride: int = 1,
) -> nn.Module:
    """Return the network of a history of transformations, with random weights.

    `channels` are those of the first stage, `cells` those of a stage.
    """
    assert isinstance(space, PathLevel)
    given: dict[str, Any] = {"channels": channels, "cells": cells, "stem_stride": stem_stride}
    for name, value in given.items():
        positive(name, value)
    network = PathLevelNetwork(signature, channels, cells, stem_stride)
    for step in space.steps(arch):
        network.grow(step, noise=0.0)
    network.initialise()
    return network
