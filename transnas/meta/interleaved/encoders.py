"""Encoders: supernets and stand-alone networks without their classifier.

An encoder maps images [B, C, H, W] to pooled features [B, d]. Its cells are governed by the shared
architecture; stem and head are the task's own. Heads of detection and segmentation stand on the
features of several stages, in place of the pooled ones of the last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks import Supernet
from transnas.networks._heads import attach, backbone_of, put_backbone
from transnas.networks.relaxations import Mix
from transnas.tasks import Signature

__all__ = [
    "Encoder",
    "Slot",
    "architecture_of",
    "copy_weights",
    "put_head",
    "share_architecture",
    "take_dense_head",
    "take_head",
]


class TakenHead(nn.Identity):
    """Where a classifier was."""


class Slot(nn.Module):
    """Where a head's backbone was: `run` gives the features of the stages."""

    def __init__(self, channels: Sequence[int], strides: Sequence[int]) -> None:
        super().__init__()
        self.channels, self.strides = tuple(channels), tuple(strides)
        self.run: Callable[[Tensor], list[Tensor]] | None = None

    def forward(self, x: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> each stage's features [B, channels, H / stride, W / stride]."""
        assert self.run is not None
        return self.run(x)


class Encoder(nn.Module):
    """A network whose head was taken out; see `take_head` and `take_dense_head`."""

    def __init__(self, network: nn.Module, dense: bool = False) -> None:
        super().__init__()
        self.network = network
        self._mixed = isinstance(network, Supernet)
        self._dense = dense
        self._statistics = [n for n, b in self.named_buffers() if b.dtype != torch.bool]
        """Buffers that running moves; masks do not."""

    def forward(self, images: Tensor, mix: Mix | None = None, maps: bool = False) -> Any:
        """[B, C, H, W] -> [B, d]; `mix` are the edge weights of a supernet.

        `maps`: return the features of all stages instead.
        """
        if maps or self._dense:
            found = self._stages(images, mix)
            return found if maps else found[-1].mean(dim=(2, 3))
        z: Tensor = self.network(images, mix) if self._mixed else self.network(images)
        return z

    def _stages(self, images: Tensor, mix: Mix | None) -> list[Tensor]:
        network = self.network
        if isinstance(network, Supernet):
            return network.stages(images, network.mix() if mix is None else mix)
        found: list[Tensor] = network(images)
        return found

    def call(
        self, images: Tensor, mix: Mix | None, weights: Mapping[str, Tensor] | None = None,
        keep_buffers: bool = False, maps: bool = False,
    ) -> Any:  # fmt: skip
        """Run with `weights` in place of the parameters of these names.

        `keep_buffers`: running statistics stay as they are, although the batch's are used.
        """
        replaced = dict(weights or {})
        if keep_buffers:
            replaced |= {name: self.get_buffer(name).clone() for name in self._statistics}
        if not replaced:
            return self(images, mix, maps)
        return torch.func.functional_call(self, replaced, (images, mix, maps))

    def cell_weights(self) -> dict[str, Tensor]:
        """Return the weights that the architecture governs: all but stem and logits."""
        logits = {id(p) for p in architecture_of(self.network)}
        return {
            name: p
            for name, p in self.named_parameters()
            if "stem" not in name.split(".") and id(p) not in logits
        }


def take_head(network: nn.Module, outputs: int, name: str) -> nn.Linear:
    """Take the classifier out of `network`, which returns pooled features afterwards.

    Raises `InputError` if there is no linear layer with so many `outputs`.
    """
    found: tuple[nn.Module, str, nn.Linear] | None = None
    for owner in network.modules():
        for key, child in owner.named_children():
            if isinstance(child, nn.Linear) and child.out_features == outputs:
                found = owner, key, child
    if found is None:
        raise InputError(
            f"network for task {name!r} has no linear classifier; accepted: a space whose networks "
            "end in one"
        )
    owner, key, head = found
    setattr(owner, key, TakenHead())
    return head


def take_dense_head(network: nn.Module, signature: Signature) -> tuple[nn.Module, nn.Module]:
    """Return body and head of a network for detection or segmentation; the head has a `Slot`.

    A supernet has no such head: it gets one, of the sizes that its skeleton says.
    """
    if isinstance(network, Supernet):
        assert network.outline is not None
        sizes = {k: v for k, v in network.skeleton.items() if k in ("pyramid", "head")}
        return network, attach(Slot(*network.outline), signature, **{**_SIZES, **sizes})
    body = backbone_of(network)
    put_backbone(network, Slot(body.channels, body.strides))
    return body, network


_SIZES = {"pyramid": 64, "head": 256}
"""Of detection heads of supernets: those of small images (`networks.residual`)."""


def put_head(network: nn.Module, head: nn.Module) -> nn.Module:
    """Undo `take_head` and `take_dense_head`; return the network that answers again."""
    if not isinstance(head, nn.Linear):
        put_backbone(head, network)
        return head
    for owner in network.modules():
        for key, child in owner.named_children():
            if isinstance(child, TakenHead):
                setattr(owner, key, head)
    return network


def architecture_of(network: nn.Module) -> list[nn.Parameter]:
    """Return the architecture's parameters of a supernet; none of a stand-alone network."""
    return network.architecture_parameters() if isinstance(network, Supernet) else []


def share_architecture(first: nn.Module, others: Sequence[nn.Module]) -> list[nn.Parameter]:
    """Let `others` use the architecture's parameters of `first`, and return these."""
    alpha = architecture_of(first)
    names = [name for name, p in first.named_parameters() if any(p is a for a in alpha)]
    for other in others:
        for name, parameter in zip(names, alpha, strict=True):
            *path, key = name.split(".")
            setattr(other.get_submodule(".".join(path)), key, parameter)
    return alpha


def copy_weights(source: Encoder, target: Encoder) -> None:
    """Copy the cells' weights of `source` into `target`, where both have the same shape."""
    given = source.cell_weights()
    with torch.no_grad():
        for name, weight in target.cell_weights().items():
            if name in given and given[name].shape == weight.shape:
                weight.copy_(given[name])
