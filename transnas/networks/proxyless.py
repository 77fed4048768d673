"""The networks of the ProxylessNAS space: chains of inverted bottlenecks.

Cai et al., "ProxylessNAS", ICLR 2019, section 4.2; the block is that of Sandler et al.,
"MobileNetV2", CVPR 2018.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks._heads import KINDS, attach
from transnas.networks._registry import positive, register, skeleton_from
from transnas.networks.operations import Mode
from transnas.spaces import Architecture, Space
from transnas.spaces.proxyless import CELLS, STRIDES, ZERO, ProxylessNAS
from transnas.tasks import Signature

__all__ = ["Frame", "InvertedBottleneck", "Network", "Skeleton", "bottleneck", "build"]

_MOMENTUM, _EPSILON = 0.1, 1e-3


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the defaults are the published supernet's, for ImageNet."""

    stem: int = 32
    """Channels of the first convolution."""
    first: int = 16
    """Channels of the first block, which is not searched."""
    widths: tuple[int, ...] = (24, 40, 80, 96, 192, 320)
    """Channels of each stage."""
    last: int = 1280
    """Channels before the classifier."""
    stem_stride: int = 2
    """Stride of the first convolution."""
    strides: tuple[int, ...] = STRIDES
    """Stride of the first block of each stage."""
    pyramid: int = 64
    """Detection: channels of the feature pyramid."""
    head: int = 256
    """Detection: units of the box head."""

    def __post_init__(self) -> None:
        for name in ("stem", "first", "last", "stem_stride", "pyramid", "head"):
            positive(name, getattr(self, name))
        for name in ("widths", "strides"):
            values: object = getattr(self, name)
            if not isinstance(values, (tuple, list)):
                raise InputError(
                    f"skeleton setting {name!r} is {values!r}; accepted: {len(CELLS)} whole "
                    "numbers, one a stage"
                )
            if len(values) != len(CELLS):
                raise InputError(
                    f"skeleton setting {name!r} has {len(values)} values; "
                    f"accepted: {len(CELLS)}, one a stage"
                )
            for value in values:
                positive(name, value)


def suggest(signature: Signature) -> dict[str, Any]:
    """Return fewer strides for images below 128 pixels, so that maps do not vanish."""
    side = max(signature.input_shape[1:])
    if side > 128:
        return {}
    halvings = 3 if side > 32 else 2 if side > 16 else 1
    places = [i for i, stride in enumerate(STRIDES) if stride == 2][-halvings:]
    strides = tuple(2 if i in places else 1 for i in range(len(STRIDES)))
    return {"stem_stride": 1 if side <= 64 else 2, "strides": strides}


def _convolution(
    channels_in: int,
    channels_out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    mode: Mode = Mode(),  # noqa: B008 - immutable
) -> list[nn.Module]:
    """Return convolution without bias (same padding) and its normalisation."""
    return [
        nn.Conv2d(
            channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False
        ),
        nn.BatchNorm2d(
            channels_out,
            eps=_EPSILON,
            momentum=_MOMENTUM,
            affine=mode.affine,
            track_running_stats=mode.track_running_stats,
        ),
    ]


def bottleneck(
    channels_in: int, channels_out: int, operation: str, stride: int, mode: Mode
) -> nn.Sequential:
    """Return expand, depthwise, project of an operation such as `mb6_k5`, without shortcut."""
    expansion, kernel = int(operation[2]), int(operation[-1])
    middle = channels_in * expansion
    expand = _convolution(channels_in, middle, 1, mode=mode) if expansion > 1 else []
    return nn.Sequential(
        *expand,
        *([nn.ReLU6()] if expand else []),
        *_convolution(middle, middle, kernel, stride, groups=middle, mode=mode),
        nn.ReLU6(),
        *_convolution(middle, channels_out, 1, mode=mode),
    )


class InvertedBottleneck(nn.Module):
    """Expand, depthwise, project; with a shortcut where shapes agree."""

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        operation: str,
        stride: int,
        mode: Mode = Mode(),  # noqa: B008 - immutable
    ) -> None:
        super().__init__()
        self.shortcut = stride == 1 and channels_in == channels_out
        self.body = bottleneck(channels_in, channels_out, operation, stride, mode)

    def forward(self, x: Tensor) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        out: Tensor = self.body(x)
        return x + out if self.shortcut else out


class Frame(nn.Module):
    """Stem, one fixed block, the blocks that `make` builds, classifier.

    `make` has index, channels in, channels out and stride; None: the block is not there.
    """

    def __init__(
        self,
        make: Callable[[int, int, int, int], nn.Module | None],
        signature: Signature,
        skeleton: Skeleton,
        mode: Mode,
    ) -> None:
        super().__init__()
        image, stem = signature.input_shape[0], skeleton.stem
        self.stem = nn.Sequential(
            *_convolution(image, stem, 3, skeleton.stem_stride, mode=mode),
            nn.ReLU6(),
            InvertedBottleneck(stem, skeleton.first, "mb1_k3", 1, mode),
        )
        self.blocks = nn.ModuleList()
        index, channels, reduced = 0, skeleton.first, skeleton.stem_stride
        outline: list[tuple[int, int]] = []
        self._halving: list[int] = []
        for count, width, stride in zip(CELLS, skeleton.widths, skeleton.strides, strict=True):
            for b in range(count):
                block = make(index, channels, width, 1 if b else stride)
                index += 1
                if b == 0 and stride > 1:
                    self._halving.append(len(self.blocks))
                    outline.append((channels, reduced))
                    reduced *= stride
                if block is not None:
                    self.blocks.append(block)
                    channels = width
        self.mix = nn.Sequential(*_convolution(channels, skeleton.last, 1, mode=mode), nn.ReLU6())
        outline.append((skeleton.last, reduced))
        self.channels = tuple(c for c, _ in outline)
        self.strides = tuple(r for _, r in outline)
        self.head: nn.Module | None = None
        if signature.kind == "classification":
            self.head = nn.Linear(skeleton.last, signature.outputs)

    def run(self, x: Tensor, *extra: Any) -> Tensor:
        """[B, C, H, W] -> [B, outputs]; blocks are given `extra`."""
        assert self.head is not None
        out: Tensor = self.head(self.stages(x, *extra)[-1].mean(dim=(2, 3)))
        return out

    def stages(self, x: Tensor, *extra: Any) -> list[Tensor]:
        """[B, C, H, W] -> features before each halving, and the last [B, channels, H', W']."""
        x, found = self.stem(x), []
        for i, block in enumerate(self.blocks):
            if i in self._halving:
                found.append(x)
            x = block(x, *extra)
        return [*found, self.mix(x)]


class Network(Frame):
    """The network of 21 chosen blocks, of which `zero` ones are not there."""

    def __init__(self, blocks: Sequence[str], signature: Signature, skeleton: Skeleton) -> None:
        def make(i: int, channels_in: int, channels_out: int, stride: int) -> nn.Module | None:
            if blocks[i] == ZERO:
                return None
            return InvertedBottleneck(channels_in, channels_out, blocks[i], stride)

        super().__init__(make, signature, skeleton, Mode())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        return self.run(x)


class Backbone(Network):
    """The same without classifier, for the heads of other kinds of task."""

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """[B, C, H, W] -> each stage's features."""
        return self.stages(x)


@register("proxyless", suggest, kinds=KINDS)
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of a chain; keywords are the fields of `Skeleton`."""
    assert isinstance(space, ProxylessNAS)
    chosen = skeleton_from(Skeleton, skeleton)
    if signature.kind == "classification":
        return Network(space.blocks(arch), signature, chosen)
    backbone = Backbone(space.blocks(arch), signature, chosen)
    return attach(backbone, signature, chosen.pyramid, chosen.head)
