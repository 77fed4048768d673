"""Separable, dilated and asymmetric convolutions, beside the operations of `operations`.

Definitions: Liu et al., "DARTS" (ICLR 2019), section 3.1.1, and Zoph et al., "Learning
Transferable Architectures" (CVPR 2018), section 3. Every operation maps [B, channels_in, H, W] to
[B, channels_out, ceil(H / stride), ceil(W / stride)] and has no biases.
"""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas.networks.operations import Mode, operation, weighted_norm

__all__ = ["AsymmetricConv", "DepthwisePointwise", "Noise", "SeparableConv", "cell_operation"]


class DepthwisePointwise(nn.Module):
    """ReLU, depthwise convolution, pointwise convolution, batch normalisation."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        kernel: int,
        stride: int,
        mode: Mode,
        dilation: int = 1,
    ) -> None:
        super().__init__()
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
        self.depthwise = nn.Conv2d(
            channels_in,
            channels_in,
            kernel,
            stride,
            padding=dilation * (kernel - 1) // 2,
            dilation=dilation,
            groups=channels_in,
            bias=False,
        )
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.norm = mode.norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.norm(self.pointwise(self.depthwise(F.relu(x))))
        return out

    def weighted(self, rectified: Tensor, weight: Tensor) -> Tensor:
        """Return weight * self(x) from ReLU(x), in the mode of supernets."""
        return weighted_norm(self.norm, self.pointwise(self.depthwise(rectified)), weight)


class SeparableConv(nn.Module):
    """A separable convolution as cells use it: applied twice, the stride in the first."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, mode: Mode
    ) -> None:
        super().__init__()
        self.first = DepthwisePointwise(channels_in, channels_out, kernel, stride, mode)
        self.second = DepthwisePointwise(channels_out, channels_out, kernel, 1, mode)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.second(self.first(x))
        return out

    def weighted(self, rectified: Tensor, weight: Tensor) -> Tensor:
        """Return weight * self(x) from ReLU(x), in the mode of supernets."""
        first = self.first
        inner = first.norm(first.pointwise(first.depthwise(rectified)))
        return self.second.weighted(F.relu(inner), weight)


class AsymmetricConv(nn.Module):
    """ReLU, 1xk convolution, kx1 convolution, batch normalisation; the stride one axis each."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, mode: Mode
    ) -> None:
        super().__init__()
        half = kernel // 2
        self.row = nn.Conv2d(
            channels_in, channels_out, (1, kernel), (1, stride), (0, half), bias=False
        )
        self.column = nn.Conv2d(
            channels_out, channels_out, (kernel, 1), (stride, 1), (half, 0), bias=False
        )
        self.norm = mode.norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.norm(self.column(self.row(F.relu(x))))
        return out


class Noise(nn.Module):
    """Standard normal noise in the place of the input (Zela et al., ICLR 2020, space S4)."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, ceil(H / stride), ceil(W / stride)], new noise at each call."""
        return torch.randn_like(x[:, :, :: self.stride, :: self.stride])


def cell_operation(
    name: str, channels_in: int, channels_out: int, stride: int = 1, mode: Mode | None = None
) -> nn.Module:
    """Return the operation called `name`; `stride` is 1 or 2.

    Beside those of `operations.operation`: `sep_conv_kxk`, `dil_conv_kxk` (dilation 2),
    `conv_kx1_1xk` and `noise`, for odd k. Raises `InputError` for a name that is not known.
    """
    mode = mode or Mode()
    if name == "noise":
        return Noise(stride)
    if separable := re.fullmatch(r"sep_conv_([357])x\1", name):
        return SeparableConv(channels_in, channels_out, int(separable[1]), stride, mode)
    if dilated := re.fullmatch(r"dil_conv_([357])x\1", name):
        kernel = int(dilated[1])
        return DepthwisePointwise(channels_in, channels_out, kernel, stride, mode, dilation=2)
    if asymmetric := re.fullmatch(r"conv_([37])x1_1x\1", name):
        return AsymmetricConv(channels_in, channels_out, int(asymmetric[1]), stride, mode)
    return operation(name, channels_in, channels_out, stride, mode)
