"""The networks of DARTS cells: CIFAR and ImageNet stems, auxiliary head, drop path.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, section 3 and appendix A; the
auxiliary heads are those of the published training code. A network is built from any `Genotype`,
also one with more nodes or other operations than the DARTS space has. Deviations: maps of odd
size are halved upwards, and the last pooling is over the whole map.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks._registry import flag, positive, register, share, skeleton_from
from transnas.networks.operations import FactorizedReduce, Mode, ReLUConvBN, Zero, drop_path
from transnas.networks.separable import cell_operation
from transnas.spaces import Architecture, Space
from transnas.spaces.darts import DARTS, Genotype
from transnas.spaces.darts import Cell as CellPlan
from transnas.tasks import Signature

__all__ = ["Cell", "Frame", "Network", "Skeleton", "build", "drop_path", "preprocess"]

_STEMS = ("cifar", "imagenet")


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the defaults are the published CIFAR-10 network."""

    channels: int = 36
    """Channels of a node before the first reduction; each reduction doubles them."""
    layers: int = 20
    """Cells; those at one third and two thirds of the depth are reduction cells."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """`imagenet` divides the map by 8 before the first cell."""
    auxiliary: bool = False
    """Has a second classifier after the second reduction, for training only."""
    drop_path: float = 0.0
    """Probability of dropping an edge of a sample in training; trainers may change it later."""

    def __post_init__(self) -> None:
        positive("channels", self.channels)
        positive("layers", self.layers)
        if self.stem not in _STEMS:
            raise InputError(
                f"skeleton setting 'stem' is {self.stem!r}; accepted: {', '.join(_STEMS)}"
            )
        flag("auxiliary", self.auxiliary)
        share("drop_path", self.drop_path)

    @property
    def reductions(self) -> tuple[int, int]:
        """Indices of the two reduction cells (one index twice for a single layer)."""
        return self.layers // 3, 2 * self.layers // 3


def suggest(signature: Signature) -> dict[str, Any]:
    """Return a small skeleton for maps up to 16x16, the ImageNet one above 64x64."""
    side = max(signature.input_shape[1:])
    if side <= 16:
        return {"channels": 16, "layers": 5}
    if side > 64:
        return {"channels": 48, "layers": 14, "stem": "imagenet"}
    return {}


def preprocess(channels_in: int, channels: int, halves: bool, mode: Mode) -> nn.Module:
    """Return what brings an input of a cell to its channels, and to half the map if it `halves`."""
    if halves:
        return FactorizedReduce(channels_in, channels, mode)
    return ReLUConvBN(channels_in, channels, 1, 1, mode)


class Cell(nn.Module):
    """One cell: both inputs are brought to C channels and one size, then the blocks follow."""

    def __init__(
        self,
        plan: CellPlan,
        channels_in: tuple[int, int],
        channels: int,
        *,
        reduces: bool,
        previous_reduces: bool,
        mode: Mode,
    ) -> None:
        super().__init__()
        older, newer = channels_in
        self.plan = plan
        self.older = preprocess(older, channels, previous_reduces, mode)
        self.newer = preprocess(newer, channels, False, mode)
        self.edges = nn.ModuleList(
            cell_operation(op, channels, channels, 2 if reduces and state < 2 else 1, mode)
            for block in plan.blocks
            for state, op in block.pairs
        )

    def forward(self, older: Tensor, newer: Tensor, drop: float = 0.0) -> Tensor:
        """[B, C0, H0, W0], [B, C1, H, W] -> [B, outputs * C, H', W']; `drop` is for training.

        Identities are never dropped, so that a sample always reaches the output.
        """
        states = [self.older(older), self.newer(newer)]
        edges = iter(self.edges)
        for block in self.plan.blocks:
            terms = []
            for state, _ in block.pairs:
                edge = next(edges)
                term = edge(states[state])
                droppable = self.training and not isinstance(edge, (nn.Identity, Zero))
                terms.append(drop_path(term, drop) if droppable else term)
            states.append(terms[0] + terms[1])
        return torch.cat([states[i] for i in self.plan.outputs], dim=1)


def _auxiliary_head(channels: int, outputs: int, stem: str) -> nn.Sequential:
    """Return the classifier of [B, channels, 8, 8] (CIFAR) or [B, channels, 7, 7] (ImageNet)."""
    cifar = stem == "cifar"
    return nn.Sequential(
        nn.ReLU(),
        nn.AvgPool2d(5, stride=3 if cifar else 2),
        nn.Conv2d(channels, 128, 1, bias=False),
        nn.BatchNorm2d(128),
        nn.ReLU(),
        nn.Conv2d(128, 768, 2, bias=False),
        # The published ImageNet runs were made without this normalisation.
        *([nn.BatchNorm2d(768)] if cifar else []),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(768, outputs),
    )


MakeCell = Callable[[bool, tuple[int, int], int, bool], tuple[nn.Module, int]]
"""(reduces, channels in, channels, previous reduces) -> a cell and how many states it joins."""


class Frame(nn.Module):
    """What is not searched: stem, the arrangement of the cells that `make` builds, classifiers."""

    def __init__(
        self, make: MakeCell, signature: Signature, skeleton: Skeleton, tracks: bool = True
    ) -> None:
        """`tracks` says whether the stem's normalisations keep running statistics."""
        super().__init__()
        self.auxiliary_after = skeleton.reductions[1]
        channels = skeleton.channels
        self.stem = _stem(signature.input_shape[0], channels, skeleton.stem, tracks)
        width = channels if skeleton.stem == "imagenet" else 3 * channels
        widths, previous_reduces = (width, width), skeleton.stem == "imagenet"
        self.cells = nn.ModuleList()
        self.auxiliary: nn.Module | None = None
        for i in range(skeleton.layers):
            reduces = i in skeleton.reductions
            channels *= 2 if reduces else 1
            cell, joined = make(reduces, widths, channels, previous_reduces)
            self.cells.append(cell)
            widths, previous_reduces = (widths[1], joined * channels), reduces
            if skeleton.auxiliary and i == self.auxiliary_after:
                _check_auxiliary(signature, skeleton)
                self.auxiliary = _auxiliary_head(widths[1], signature.outputs, skeleton.stem)
        self.head = nn.Linear(widths[1], signature.outputs)

    def run(self, x: Tensor, *extra: Any) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> [B, outputs] and the auxiliary head's map; cells are given `extra`."""
        older = self.stem[0](x)
        newer = self.stem[1](older)
        features = newer
        for i, cell in enumerate(self.cells):
            older, newer = newer, cell(older, newer, *extra)
            if i == self.auxiliary_after:
                features = newer
        return self.head(newer.mean(dim=(2, 3))), features


class Network(Frame):
    """Stem, cells, classifier. `drop_path` may be set during training (it grows with the epoch)."""

    def __init__(
        self,
        genotype: Genotype,
        signature: Signature,
        skeleton: Skeleton = Skeleton(),
        mode: Mode | None = None,
    ) -> None:
        mode = mode or Mode()

        def make(
            reduces: bool, widths: tuple[int, int], channels: int, previous_reduces: bool
        ) -> tuple[nn.Module, int]:
            plan = genotype.reduce if reduces else genotype.normal
            cell = Cell(
                plan,
                widths,
                channels,
                reduces=reduces,
                previous_reduces=previous_reduces,
                mode=mode,
            )
            return cell, len(plan.outputs)

        super().__init__(make, signature, skeleton, mode.track_running_stats)
        self.drop_path = skeleton.drop_path

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        return self.run(x, self.drop_path)[0]

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, C, H, W] -> outputs and auxiliary outputs, [B, outputs] each.

        The published loss is CE(first) + 0.4 CE(second). Raises `InputError` without such a head.
        """
        if self.auxiliary is None:
            raise InputError("skeleton setting 'auxiliary' is False; accepted here: True")
        out, features = self.run(x, self.drop_path)
        return out, self.auxiliary(features)


def _stem(channels_in: int, channels: int, kind: str, tracks: bool) -> nn.ModuleList:
    """Return two modules: image to state 0, state 0 to state 1."""
    mode = Mode(track_running_stats=tracks)
    if kind == "cifar":
        conv = nn.Conv2d(channels_in, 3 * channels, 3, padding=1, bias=False)
        return nn.ModuleList([nn.Sequential(conv, mode.norm(3 * channels)), nn.Identity()])
    if channels < 2:
        raise InputError(
            "skeleton setting 'channels' is 1; accepted with stem 'imagenet', which halves them: "
            "whole numbers from 2"
        )
    half = channels // 2
    return nn.ModuleList(
        [
            nn.Sequential(
                nn.Conv2d(channels_in, half, 3, 2, 1, bias=False),
                mode.norm(half),
                nn.ReLU(),
                nn.Conv2d(half, channels, 3, 2, 1, bias=False),
                mode.norm(channels),
            ),
            ReLUConvBN(channels, channels, 3, 2, mode),
        ]
    )


def _check_auxiliary(signature: Signature, skeleton: Skeleton) -> None:
    """Raise `InputError` if the auxiliary head's pooling does not fit on its map."""
    total = 4 if skeleton.stem == "cifar" else 32
    least = 8 if skeleton.stem == "cifar" else 7
    side = -(-min(signature.input_shape[1:]) // total)
    if side < least:
        raise InputError(
            f"skeleton setting 'auxiliary' is True, but images of {signature.input_shape[1:]} "
            f"leave it maps of {side} pixels; accepted: images of more than "
            f"{total * (least - 1)} pixels a side"
        )


@register("darts", suggest)
@register("darts-none", suggest)
@register("darts-s2", suggest)
@register("darts-s3", suggest)
@register("darts-s4", suggest)
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of a pair of DARTS cells; keywords are the fields of `Skeleton`."""
    assert isinstance(space, DARTS)
    return Network(space.genotype(arch), signature, skeleton_from(Skeleton, skeleton))
