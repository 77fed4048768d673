"""The network of the ENAS macro space, as its layers are defined during the search.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.3.
The map is halved twice, at one third and two thirds of the depth, and the number of channels stays.
Deviation: this is the network that the search trains, not the wider one of the final training,
whose released builder knows neither separable convolutions nor pooling.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from transnas.networks._registry import positive, register, skeleton_from
from transnas.networks.operations import FactorizedReduce, Mode
from transnas.spaces import Architecture, Space
from transnas.spaces.enas_macro import ChainSpace
from transnas.tasks import Signature

__all__ = ["Frame", "Layer", "Network", "Skeleton", "branch", "build"]


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the default is the published search network."""

    channels: int = 36
    """Channels of every layer."""

    def __post_init__(self) -> None:
        positive("channels", self.channels)


class Layer(nn.Module):
    """An operation on the layer before, plus the chosen earlier layers, normalised."""

    def __init__(self, operation: str, reads: Sequence[int], channels: int) -> None:
        super().__init__()
        self.reads = tuple(reads)
        self.branch = branch(operation, channels, Mode())
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, layers: Sequence[Tensor], before: Tensor) -> Tensor:
        """Earlier layers and the last output, all [B, C, H, W] -> [B, C, H, W]."""
        total = self.branch(before)
        for i in self.reads:
            total = total + layers[i]
        out: Tensor = self.norm(total)
        return out


def branch(operation: str, channels: int, mode: Mode) -> nn.Sequential:
    """Return an operation with the 1x1 convolution before it: [B, C, H, W] -> [B, C, H, W]."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False),
        mode.norm(channels),
        nn.ReLU(),
        *_operation(operation, channels, mode),
    )


def _operation(name: str, channels: int, mode: Mode) -> list[nn.Module]:
    kind, size = name.split("_")[0], int(name[-1])
    if kind == "avg":
        return [nn.AvgPool2d(size, 1, size // 2, count_include_pad=False)]
    if kind == "max":
        return [nn.MaxPool2d(size, 1, size // 2)]
    groups = channels if kind == "sep" else 1
    conv = nn.Conv2d(channels, channels, size, 1, size // 2, groups=groups, bias=False)
    mix = [nn.Conv2d(channels, channels, 1, bias=False)] if kind == "sep" else []
    return [conv, *mix, mode.norm(channels), nn.ReLU()]


class Frame(nn.Module):
    """Stem, layers, classifier; at a reduction all earlier layers are halved, each by its own.

    `make` builds a layer from its index.
    """

    def __init__(
        self,
        layers: int,
        make: Callable[[int], nn.Module],
        signature: Signature,
        channels: int,
        mode: Mode,
    ) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(signature.input_shape[0], channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels, track_running_stats=mode.track_running_stats),
        )
        self.layers = nn.ModuleList(make(k) for k in range(layers))
        third = layers // 3
        self.reductions = nn.ModuleDict(
            {
                str(after): nn.ModuleList(
                    FactorizedReduce(channels, channels, mode) for _ in range(after + 1)
                )
                for after in (third - 1, 2 * third - 1)
            }
        )
        self.head = nn.Linear(channels, signature.outputs)

    def run(self, x: Tensor, *extra: Any) -> Tensor:
        """[B, C, H, W] -> [B, outputs]; layers are given `extra`."""
        before = self.stem(x)
        outputs: list[Tensor] = []
        for k, layer in enumerate(self.layers):
            before = layer(outputs, before, *extra)
            outputs.append(before)
            if str(k) in self.reductions:
                halves = cast("nn.ModuleList", self.reductions[str(k)])
                outputs = [halve(out) for halve, out in zip(halves, outputs, strict=True)]
                before = outputs[-1]
        out: Tensor = self.head(before.mean(dim=(2, 3)))
        return out


class Network(Frame):
    """The network of the chosen operations and skips."""

    def __init__(
        self,
        chain: Sequence[tuple[tuple[str, ...], tuple[int, ...]]],
        signature: Signature,
        channels: int,
    ) -> None:
        def make(k: int) -> nn.Module:
            words, reads = chain[k]
            return Layer(words[0], reads, channels)

        super().__init__(len(chain), make, signature, channels, Mode())

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        return self.run(x)


@register("enas-macro")
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of an ENAS macro architecture; keywords are the fields of `Skeleton`."""
    assert isinstance(space, ChainSpace)
    return Network(space.chain(arch), signature, skeleton_from(Skeleton, skeleton).channels)
