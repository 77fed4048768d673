"""The supernet of the chain: one convolution a layer whose kernel is the mixture.

A convolution is linear in its kernel, so the mixture of kernel sizes is one convolution with the
mixed kernel: sizes are centre crops of one 7x7 kernel (Stamoulis et al., "Single-Path NAS", ECML
2019), numbers of filters its first filters, and anchors its slices of input channels. Rows of the
logits are the choices of the space: height, width, filters and anchor bits of each layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas.networks._mixed import recomputed
from transnas.networks._registry import positive, skeleton_from
from transnas.networks._supernet import SEARCH, Form, Operation, RowsAreChoices, register_supernet
from transnas.networks.chain import shrink
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Space
from transnas.spaces.chain import ChainSpace
from transnas.tasks import Signature

__all__ = ["ChainSupernet", "MixedLayer"]


class MixedLayer(nn.Module):
    """Mixed convolution of the image or earlier layers, normalisation, ReLU, mixed filters."""

    def __init__(self, row: int, image: int, earlier: int, sizes: Sequence[Sequence[int]]) -> None:
        """`row` is that of the height; `sizes` are heights, widths and filters to choose from."""
        super().__init__()
        self.row, self.image, self.sizes = row, image, sizes
        self.most = max(sizes[2])
        channels = image + earlier * self.most
        conv = nn.Conv2d(channels, self.most, (max(sizes[0]), max(sizes[1])), bias=False)
        self.weight = conv.weight
        self.norm = SEARCH.norm(self.most)

    def bits(self, mix: Mix, earlier: int) -> list[Tensor]:
        """Return how much of each earlier layer is read."""
        return [mix.weights[self.row + 3 + i, 1] for i in range(earlier)]

    def forward(self, image: Tensor, layers: Sequence[Tensor], mix: Mix) -> Tensor:
        """Image [B, C, H, W] and earlier layers [B, most, H, W] -> [B, most, H, W]."""
        bits = self.bits(mix, len(layers))
        inputs, slices = [image], [self.weight[:, : self.image] * _absent(bits)]
        for i, (x, bit) in enumerate(zip(layers, bits, strict=True)):
            if 1 in mix.active(self.row + 3 + i):
                first = self.image + i * self.most
                inputs.append(x)
                slices.append(self.weight[:, first : first + self.most] * bit)
        kernel = torch.cat(slices, dim=1)
        for axis in (0, 1):
            kernel = self._crop(kernel, mix, axis)
        padding = (kernel.shape[2] // 2, kernel.shape[3] // 2)
        out = F.conv2d(torch.cat(inputs, dim=1), kernel, padding=padding)
        filters = self._share(mix, 2, self._kept_filters(out))
        return F.relu(self.norm(out)) * filters[:, None, None]

    def _crop(self, kernel: Tensor, mix: Mix, axis: int) -> Tensor:
        """Return the mixture of the kernel's centre crops along an axis, at the largest's size."""
        full, row = max(self.sizes[axis]), self.row + axis
        largest = max(self.sizes[axis][code] for code in mix.active(row) or [0])
        kernel = kernel.narrow(2 + axis, (full - largest) // 2, largest)
        distance = (torch.arange(largest, device=kernel.device) - largest // 2).abs()
        inside = torch.stack([distance <= size // 2 for size in self.sizes[axis]])
        share = self._share(mix, axis, inside)
        return kernel * (share[:, None] if axis == 0 else share)

    def _kept_filters(self, out: Tensor) -> Tensor:
        index = torch.arange(self.most, device=out.device)
        return torch.stack([index < filters for filters in self.sizes[2]])

    def _share(self, mix: Mix, choice: int, inside: Tensor) -> Tensor:
        """Return the share of the options that have each place; `inside` is [options, places]."""
        weights = mix.weights[self.row + choice, : len(inside)]
        return weights @ inside.to(weights)


@dataclass(frozen=True, slots=True)
class _Skeleton:
    """What is not searched."""

    stem_stride: int = 1

    def __post_init__(self) -> None:
        positive("stem_stride", self.stem_stride)


@register_supernet("chain")
class ChainSupernet(RowsAreChoices):
    """All chains in one network; `stem_stride` averages the image first, as in `build`."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, ChainSpace)
        available = [range(len(choice.values)) for choice in space.choices]
        super().__init__(space, signature, relaxation, form, available, skeleton)
        stride = skeleton_from(_Skeleton, skeleton).stem_stride
        image = signature.input_shape[0]
        sizes = [[int(value) for value in token.values] for token in space.tokens]
        self.shrink = shrink(stride)
        starts = [3 * k + k * (k - 1) // 2 for k in range(space.layers)]
        self.layers = nn.ModuleList(
            MixedLayer(start, image, k, sizes) for k, start in enumerate(starts)
        )
        self.most = max(sizes[2])
        self.head = nn.Linear(self.most * space.layers, signature.outputs)
        self.chain = space

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the weights of `mix` [33, 4]."""
        x = self.shrink(x)
        states: list[Tensor] = []
        read_by: list[list[Tensor]] = []
        for layer in self.layers:
            assert isinstance(layer, MixedLayer)
            for readers, bit in zip(read_by, layer.bits(mix, len(states)), strict=True):
                readers.append(bit)
            arguments = (x, tuple(states), mix)
            states.append(
                recomputed(layer, *arguments) if self.form.checkpoint else layer(*arguments)
            )
            read_by.append([])
        means = [s.mean(dim=(2, 3)) * _absent(r) for s, r in zip(states, read_by, strict=True)]
        out: Tensor = self.head(torch.cat(means, dim=1))
        return out

    def operation(self, row: int, code: int) -> Operation:
        """Return e.g. `height 3`, and of a bit `none` or `reads`: all are parts of one kernel."""
        choice = self.chain.choices[row]
        what = choice.name.split()[2]
        return Operation(
            ("none", "reads")[code] if what == "reads" else f"{what} {choice.values[code]}"
        )

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return e.g. `layers.2.weight` for `layers.2.0.weight`."""
        return re.sub(r"^layers\.(\d+)\.0\.", r"layers.\1.", name)

    def shared_value(
        self, shared: Mapping[str, Tensor], name: str, codes: Sequence[int | None]
    ) -> Tensor | None:
        """Return the weight, cut to the kernel, filters and inputs of the architecture."""
        value = super().shared_value(shared, name, codes)
        if value is None or not name.endswith(".weight"):
            return value
        arch = self.space.architecture([code for code in codes if code is not None])
        chain = [
            ((int(h), int(w), int(filters)), reads)
            for (h, w, filters), reads in self.chain.chain(arch)
        ]
        filters = [f for (_, _, f), _ in chain]
        if name == "head.weight":
            read = {i for _, reads in chain for i in reads}
            return value[:, self._places([i for i in range(len(chain)) if i not in read], filters)]
        (h, w, f), reads = chain[int(name.split(".")[1])]
        image = self.signature.input_shape[0]
        columns = [image + c for c in self._places(reads, filters)] or list(range(image))
        top, left = (value.shape[2] - h) // 2, (value.shape[3] - w) // 2
        return value[:f, columns, top : top + h, left : left + w]

    def _places(self, layers: Sequence[int], filters: Sequence[int]) -> list[int]:
        """Return the channels that the filters of these layers have among those of all."""
        return [i * self.most + c for i in layers for c in range(filters[i])]


def _absent(bits: Sequence[Tensor]) -> Tensor | float:
    """Return the probability that none of independent bits is set."""
    return (1.0 - torch.stack(list(bits))).clamp(0.0, 1.0).prod() if bits else 1.0
