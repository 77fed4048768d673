"""The network of a chain of convolutions with anchors.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, section 3.3: a
layer reads the concatenation of its anchors, or the image; outputs that no layer reads are
concatenated before the classifier. Maps keep their size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transnas.networks._registry import positive, register
from transnas.spaces import Architecture, Space
from transnas.spaces.chain import ChainSpace
from transnas.tasks import Signature

__all__ = ["Network", "build", "shrink"]


class Network(nn.Module):
    """Layers of convolution (same padding), batch normalisation, ReLU, and a classifier.

    `chain` has (height, width, filters) and the chosen earlier layers of each layer.
    """

    def __init__(
        self,
        chain: Sequence[tuple[tuple[int, int, int], tuple[int, ...]]],
        signature: Signature,
        stem_stride: int = 1,
    ) -> None:
        super().__init__()
        image = signature.input_shape[0]
        self.shrink = shrink(stem_stride)
        self.reads = tuple(reads for _, reads in chain)
        read = {i for reads in self.reads for i in reads}
        self.outputs = tuple(i for i in range(len(chain)) if i not in read)
        self.layers = nn.ModuleList()
        for (height, width, filters), reads in chain:
            channels = sum(chain[i][0][2] for i in reads) or image
            padding = (height // 2, width // 2)
            conv = nn.Conv2d(channels, filters, (height, width), padding=padding, bias=False)
            self.layers.append(nn.Sequential(conv, nn.BatchNorm2d(filters), nn.ReLU()))
        self.head = nn.Linear(sum(chain[i][0][2] for i in self.outputs), signature.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        x = self.shrink(x)
        states: list[Tensor] = []
        for layer, reads in zip(self.layers, self.reads, strict=True):
            states.append(layer(torch.cat([states[i] for i in reads], dim=1) if reads else x))
        last = torch.cat([states[i] for i in self.outputs], dim=1)
        out: Tensor = self.head(last.mean(dim=(2, 3)))
        return out


def shrink(stride: int) -> nn.Module:
    """Return the average over squares of `stride` pixels; sides are divided upwards."""
    return nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()


def suggest(signature: Signature) -> dict[str, int]:
    """Return a stride that makes maps of 17 to 32 pixels out of larger images."""
    return {"stem_stride": max(1, -(-max(signature.input_shape[1:]) // 32))}


@register("chain", suggest)
def build(
    space: Space, arch: Architecture, signature: Signature, stem_stride: int = 1
) -> nn.Module:
    """Return the network of a chain; `stem_stride` averages the image first (1: as published)."""
    assert isinstance(space, ChainSpace)
    positive("stem_stride", stem_stride)
    chain = [
        ((int(height), int(width), int(filters)), reads)
        for (height, width, filters), reads in space.chain(arch)
    ]
    return Network(chain, signature, stem_stride)
