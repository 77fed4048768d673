"""The networks of the residual space: a backbone that yields stage features, and its heads.

Blocks: He et al., "Deep Residual Learning", CVPR 2016 (basic; bottleneck with the stride in its
3x3 convolution, as torchvision has it); Xie et al., "Aggregated Residual Transformations", CVPR
2017 (resnext). ResNet-18/34/50 and ResNeXt-50 come out as torchvision's, weight for weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd
from typing import Any

from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks._heads import KINDS, attach
from transnas.networks._registry import flag, positive, register, skeleton_from
from transnas.networks.operations import initialise
from transnas.spaces import Architecture, Space
from transnas.spaces.residual import Plan, Residual
from transnas.tasks import Signature

__all__ = ["Backbone", "ResidualBlock", "Skeleton", "build"]

_EXPANSION = 4
"""Channels out of a bottleneck, over those of its 3x3 convolution."""
_CARDINALITY = 32
"""Groups of a resnext block's 3x3 convolution, which is twice as wide as a bottleneck's."""
_LARGE = 64
"""Images from this many pixels a side get the ImageNet stem."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the defaults are the published networks', for ImageNet."""

    large_stem: bool = True
    """A 7x7 convolution of stride 2 and a max-pool (a quarter of the size); else a 3x3."""
    halvings: int = 4
    """Stages that may halve the map, counted from the second; later ones keep its size."""
    output_stride: int = 16
    """Segmentation: stages that would go beyond this reduction are dilated instead."""
    pyramid: int = 256
    """Detection: channels of the feature pyramid."""
    head: int = 1024
    """Detection: units of the box head."""

    def __post_init__(self) -> None:
        flag("large_stem", self.large_stem)
        for name in ("output_stride", "pyramid", "head"):
            positive(name, getattr(self, name))
        halvings: object = self.halvings
        if not isinstance(halvings, int) or isinstance(halvings, bool) or halvings < 0:
            raise InputError(
                f"skeleton setting 'halvings' is {self.halvings!r}; accepted: 0 or more"
            )


def suggest(signature: Signature) -> dict[str, Any]:
    """Return what suits the input: small images are halved less, and have small heads."""
    side = min(signature.input_shape[1:])
    large = side >= _LARGE
    halvings = max(0, (side // 4 if large else side).bit_length() - 1)
    chosen: dict[str, Any] = {"large_stem": large, "halvings": min(4, halvings)}
    if side < 400:
        chosen |= {"pyramid": 64, "head": 256}
    return chosen


class ResidualBlock(nn.Module):
    """relu(body(x) + shortcut(x)); the shortcut is a 1x1 convolution where shapes change.

    `dilations` are those of the map that the block reads and of the one that it writes, which is
    sparser where a stride was replaced.
    """

    def __init__(
        self,
        kind: str,
        channels_in: int,
        width: int,
        stride: int = 1,
        dilations: tuple[int, int] = (1, 1),
    ) -> None:
        super().__init__()
        self.channels = width if kind == "basic" else _EXPANSION * width
        if kind == "basic":
            layers = [
                *_convolution(channels_in, width, 3, stride, dilations[0]),
                *_convolution(width, width, 3, 1, dilations[1]),
            ]
        else:
            middle = width if kind == "bottleneck" else 2 * width
            groups = 1 if kind == "bottleneck" else gcd(_CARDINALITY, middle)
            layers = [
                *_convolution(channels_in, middle, 1),
                *_convolution(middle, middle, 3, stride, dilations[0], groups),
                *_convolution(middle, self.channels, 1),
            ]
        self.body = nn.Sequential(*layers[:-1])  # the last ReLU comes after the sum
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels_in != self.channels:
            self.shortcut = nn.Sequential(*_convolution(channels_in, self.channels, 1, stride)[:2])
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.relu(self.body(x) + self.shortcut(x))
        return out


def _convolution(
    channels_in: int,
    channels_out: int,
    kernel: int,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
) -> list[nn.Module]:
    """Return convolution (same padding, no bias), normalisation and ReLU."""
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(channels_in, channels_out, kernel, stride, padding, dilation, groups, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    ]


class Backbone(nn.Module):
    """Stem and stages; `channels` and `strides` say what each stage's features are.

    `longest_stride` is the reduction at which stages dilate instead of halving the map.
    """

    def __init__(
        self, plan: Plan, image: int, skeleton: Skeleton, longest_stride: int | None = None
    ) -> None:
        super().__init__()
        stem = _convolution(image, plan.base, 3)
        if skeleton.large_stem:
            wide = nn.Conv2d(image, plan.base, 7, 2, 3, bias=False)
            stem = [wide, *stem[1:], nn.MaxPool2d(3, 2, 1)]
        self.stem = nn.Sequential(*stem)
        self.stages = nn.ModuleList()
        channels, reduced, dilation = plan.base, 4 if skeleton.large_stem else 1, 1
        found: list[tuple[int, int]] = []
        for s, widths in enumerate(plan.widths):
            stride = 2 if 0 < s <= skeleton.halvings else 1
            before = dilation
            if longest_stride is not None and reduced * stride > longest_stride:
                stride, dilation = 1, dilation * stride
            stage = nn.Sequential()
            for b, width in enumerate(widths):
                first = (stride, (before, dilation))
                block = ResidualBlock(
                    plan.block, channels, width, *(first if b == 0 else (1, (dilation, dilation)))
                )
                stage.append(block)
                channels = block.channels
            self.stages.append(stage)
            reduced *= stride
            found.append((channels, reduced))
        self.channels = tuple(c for c, _ in found)
        self.strides = tuple(r for _, r in found)
        initialise(self)

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> each stage's features [B, channels, H / stride, W / stride]."""
        x, features = self.stem(x), []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        return features


@register("residual", suggest, kinds=KINDS)
@register("residual-small", suggest, kinds=KINDS)
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of a residual architecture; keywords are the fields of `Skeleton`."""
    assert isinstance(space, Residual)
    chosen = skeleton_from(Skeleton, skeleton)
    longest = chosen.output_stride if signature.kind == "segmentation" else None
    backbone = Backbone(space.plan(arch), signature.input_shape[0], chosen, longest)
    return attach(backbone, signature, chosen.pyramid, chosen.head)
