"""Transformations of a trained network that leave its function as it is.

Chen, Goodfellow & Shlens, "Net2Net" (ICLR 2016): deeper; Cai et al., "Path-Level Network
Transformation" (ICML 2018): replication and splitting of an edge. Exact in evaluation mode, to
rounding; in training mode batch statistics of copies are those of their originals.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from transnas._errors import InputError

__all__ = ["Concatenated", "Replicated", "deeper", "replicate", "split", "split_layer"]


def deeper(channels: int, kernel: int = 3, depthwise: bool = False) -> nn.Sequential:
    """Return convolution, normalisation and ReLU that pass on what is not negative: Net2Deeper.

    To be put after a ReLU. The normalisation undoes its own running statistics.
    """
    groups = channels if depthwise else 1
    conv = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=groups, bias=False)
    nn.init.dirac_(conv.weight, groups)
    norm = nn.BatchNorm2d(channels)
    nn.init.constant_(norm.weight, (1 + norm.eps) ** 0.5)
    return nn.Sequential(conv, norm, nn.ReLU())


class Replicated(nn.Module):
    """The mean of branches that read the same input."""

    def __init__(self, branches: Sequence[nn.Module]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> the shape of a branch."""
        return torch.stack([branch(x) for branch in self.branches]).mean(dim=0)


class Concatenated(nn.Module):
    """Branches whose outputs are concatenated; each reads all channels, or (`parts`) its own."""

    def __init__(self, branches: Sequence[nn.Module], parts: Sequence[int] | None = None) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)
        self.parts = None if parts is None else list(parts)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, sum of the branches' channels, ...]."""
        count = len(self.branches)
        inputs = [x] * count if self.parts is None else torch.split(x, self.parts, dim=1)
        branches = zip(self.branches, inputs, strict=True)
        return torch.cat([branch(part) for branch, part in branches], dim=1)


def replicate(
    edge: nn.Module,
    branches: int = 2,
    generator: torch.Generator | None = None,
    noise: float = 0.0,
) -> Replicated:
    """Return `edge` as the mean of so many copies; all but the first disturbed by `noise`.

    `noise` is in standard deviations of each weight tensor; 0 keeps the function.
    """
    copies = [deepcopy(edge) for _ in range(branches)]
    for copy in copies[1:] if noise else ():
        for weight in copy.parameters():
            if weight.ndim > 1:
                drawn = torch.randn(weight.shape, generator=generator).to(weight)
                weight.data += noise * weight.data.std() * drawn
    return Replicated(copies)


def split(edge: nn.Module, channels: int, branches: int = 2) -> Concatenated:
    """Return `edge` as branches that make a part of its output channels each.

    A convolution gives each branch all inputs and some of its outputs; a depthwise convolution,
    pooling or identity gives each branch some channels. `channels` are the edge's outputs.
    Raises `InputError` for other edges, and for more branches than channels.
    """
    if not 1 <= branches <= channels:
        raise InputError(f"branches {branches} of {channels} channels; accepted: 1..{channels}")
    parts = [len(part) for part in torch.tensor_split(torch.arange(channels), branches)]
    if isinstance(edge, nn.Conv2d):
        depthwise = edge.groups == edge.in_channels == edge.out_channels and edge.groups > 1
        if edge.groups != 1 and not depthwise:
            raise InputError(f"edge {edge} has groups; accepted: one, or one for each channel")
        found = []
        for rows in torch.split(torch.arange(channels), parts):
            branch = deepcopy(edge)
            _take(branch, rows)
            branch.out_channels = len(rows)
            if depthwise:
                branch.in_channels = branch.groups = len(rows)
            found.append(branch)
        return Concatenated(found, parts if depthwise else None)
    if isinstance(edge, (nn.MaxPool2d, nn.AvgPool2d, nn.Identity)):
        return Concatenated([deepcopy(edge) for _ in parts], parts)
    raise InputError(f"edge {edge} cannot be split; accepted: convolutions, pools and identities")


def split_layer(layer: nn.Sequential, branches: int = 2) -> Concatenated:
    """Return convolution, normalisation and ReLU as branches that make a part of the channels each.

    A depthwise convolution gives each branch its own channels. Raises `InputError` as `split`.
    """
    conv, norm, activation = layer
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(norm, nn.BatchNorm2d)
    divided = split(conv, conv.out_channels, branches)
    parts, begin = [], 0
    for part in divided.branches:
        assert isinstance(part, nn.Conv2d)
        own, count = deepcopy(norm), part.out_channels
        _take(own, torch.arange(begin, begin + count))
        own.num_features = count
        parts.append(nn.Sequential(part, own, deepcopy(activation)))
        begin += count
    return Concatenated(parts, divided.parts)


def _take(module: nn.Conv2d | nn.BatchNorm2d, rows: Tensor) -> None:
    """Let every tensor of `module` that has a row for each channel consist of these rows."""
    for name, parameter in list(module.named_parameters(recurse=False)):
        setattr(module, name, nn.Parameter(parameter.detach()[rows].clone()))
    for name, buffer in list(module.named_buffers(recurse=False)):
        if buffer.ndim:
            setattr(module, name, buffer[rows].clone())
