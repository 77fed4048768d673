"""Operations that cell-based spaces choose from, behind one factory.

Every operation maps [B, channels_in, H, W] to [B, channels_out, ceil(H / stride),
ceil(W / stride)], for odd and even sizes alike. Definitions: Dong & Yang (ICLR 2020), which are
those of Liu et al., "DARTS" (ICLR 2019), section 3.1.1, where both have the operation.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas._errors import InputError, unknown
from transnas.networks._quarters import quarters

__all__ = [
    "FactorizedReduce",
    "Mode",
    "Pool",
    "ReLUConvBN",
    "Zero",
    "drop_path",
    "initialise",
    "weighted_norm",
    "operation",
]


@dataclass(frozen=True, slots=True)
class Mode:
    """How operations are built: for stand-alone training (the defaults) or inside a supernet."""

    affine: bool = True
    """Batch normalisation has scale and shift; off in supernets, where they rival edge weights."""
    pool_bn: bool = False
    """Pooling is followed by a normalisation without scale and shift (DARTS search only)."""
    track_running_stats: bool = True
    """Normalisation keeps running statistics for evaluation; off: always the batch's own."""
    shift_by_bias: bool = True
    """Convolutions get a bias where normalisation has no shift (NAS-Bench-201); off in DARTS."""

    @property
    def bias(self) -> bool:
        """Whether convolutions before a normalisation have a bias."""
        return self.shift_by_bias and not self.affine

    def norm(self, channels: int) -> nn.BatchNorm2d:
        """Return the batch normalisation of this mode."""
        return nn.BatchNorm2d(
            channels, affine=self.affine, track_running_stats=self.track_running_stats
        )


def weighted_norm(norm: nn.BatchNorm2d, x: Tensor, weight: Tensor) -> Tensor:
    """Return weight * norm(x) for a normalisation without scale and a weight [], in one pass."""
    # A stride-0 scale gives NaN gradients on channels-last maps (torch 2.14): repeat, not expand.
    scale, zero = weight.repeat(x.shape[1]), weight.new_zeros(x.shape[1])
    return F.batch_norm(x, None, None, scale, zero, True, 0.0, norm.eps)


class Zero(nn.Module):
    """No information: zeros of the output's shape."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.channels = channels_out if channels_in != channels_out else None
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> zeros."""
        x = x[:, :, :: self.stride, :: self.stride]
        if self.channels is None:
            return torch.zeros_like(x)
        return x.new_zeros(x.shape[0], self.channels, x.shape[2], x.shape[3])


class ReLUConvBN(nn.Module):
    """ReLU, convolution (same padding), batch normalisation.

    Whether the convolution has a bias is `Mode.bias`.
    """

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, mode: Mode
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, bias=mode.bias
        )
        self.norm = mode.norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.norm(self.conv(F.relu(x)))
        return out

    def weighted(self, rectified: Tensor, weight: Tensor) -> Tensor:
        """Return weight * self(x) from ReLU(x), in the mode of supernets."""
        return weighted_norm(self.norm, self.conv(rectified), weight)


class Pool(nn.Module):
    """3x3 pooling over the pixels that exist; a 1x1 convolution first where channels change."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, mode: Mode, maximum: bool = False
    ) -> None:
        super().__init__()
        self.change: nn.Module = nn.Identity()
        if channels_in != channels_out:
            self.change = ReLUConvBN(channels_in, channels_out, 1, 1, mode)
        self.pool: nn.Module = (
            nn.MaxPool2d(3, stride, 1)
            if maximum
            else nn.AvgPool2d(3, stride, 1, count_include_pad=False)
        )
        self.norm: nn.Module = nn.Identity()
        if mode.pool_bn:
            self.norm = nn.BatchNorm2d(
                channels_out, affine=False, track_running_stats=mode.track_running_stats
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.norm(self.pool(self.change(x)))
        return out


class FactorizedReduce(nn.Module):
    """Halve the map without losing pixels: two 1x1 stride-2 convolutions, one shifted by (1, 1).

    Odd sizes are padded by one at the bottom and right first. Raises `InputError` for one channel
    out, of which neither convolution can make a part.
    """

    def __init__(self, channels_in: int, channels_out: int, mode: Mode) -> None:
        super().__init__()
        if channels_out < 2:
            raise InputError("a layer of 1 channel is to halve a map; accepted: channels from 2")
        half = channels_out // 2
        self.even = nn.Conv2d(channels_in, half, 1, stride=2, bias=mode.bias)
        self.odd = nn.Conv2d(channels_in, channels_out - half, 1, stride=2, bias=mode.bias)
        self.norm = mode.norm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / 2), ceil(W / 2)]."""
        # Taking the pixels first leaves dense 1x1 convolutions, which have the fast kernels.
        parts = quarters(F.relu(x)).chunk(4)
        places = ((self.even, parts[0]), (self.odd, parts[3]))
        halves = [F.conv2d(part, conv.weight, conv.bias) for conv, part in places]
        out: Tensor = self.norm(torch.cat(halves, dim=1))
        return out


def _skip(channels_in: int, channels_out: int, stride: int, mode: Mode) -> nn.Module:
    if stride == 1 and channels_in == channels_out:
        return nn.Identity()
    if stride == 1:
        return ReLUConvBN(channels_in, channels_out, 1, 1, mode)
    return FactorizedReduce(channels_in, channels_out, mode)


_Factory = Callable[[int, int, int, Mode], nn.Module]
_OPERATIONS: dict[str, _Factory] = {
    "none": lambda ci, co, stride, mode: Zero(ci, co, stride),
    "skip_connect": _skip,
    "nor_conv_1x1": lambda ci, co, stride, mode: ReLUConvBN(ci, co, 1, stride, mode),
    "nor_conv_3x3": lambda ci, co, stride, mode: ReLUConvBN(ci, co, 3, stride, mode),
    "avg_pool_3x3": lambda ci, co, stride, mode: Pool(ci, co, stride, mode),
    "max_pool_3x3": lambda ci, co, stride, mode: Pool(ci, co, stride, mode, maximum=True),
}


def operation(
    name: str, channels_in: int, channels_out: int, stride: int = 1, mode: Mode | None = None
) -> nn.Module:
    """Return the operation called `name`; `stride` is 1 or 2.

    Raises `InputError` for a name that is not known.
    """
    if name not in _OPERATIONS:
        raise unknown("operation", name, _OPERATIONS)
    return _OPERATIONS[name](channels_in, channels_out, stride, mode or Mode())


def drop_path(x: Tensor, probability: float) -> Tensor:
    """Zero whole samples of x [B, C, H, W] with `probability`; the rest is scaled up to match."""
    if probability == 0.0:
        return x
    keep = 1.0 - probability
    kept = torch.empty(x.shape[0], 1, 1, 1, dtype=x.dtype, device=x.device).bernoulli_(keep)
    return x * (kept / keep)


def initialise(network: nn.Module) -> None:
    """Draw weights as He et al., "Delving Deep into Rectifiers" (ICCV 2015), in place.

    Convolutions: normal with variance 2 / fan-out; normalisation: 1 and 0; linear: torch's
    uniform weights with zero bias.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)
