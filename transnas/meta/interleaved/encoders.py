"""Encoders: supernets and stand-alone networks without their classifier.

An encoder maps images [B, C, H, W] to pooled features [B, d]. Its cells are governed by the shared
architecture; stem and head are the task's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks import Supernet
from transnas.networks.relaxations import Mix

__all__ = [
    "Encoder",
    "architecture_of",
    "copy_weights",
    "put_head",
    "share_architecture",
    "take_head",
]


class TakenHead(nn.Identity):
    """Where a classifier was."""


class Encoder(nn.Module):
    """A network whose classifier was taken out; see `take_head`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self._mixed = isinstance(network, Supernet)

    def forward(self, images: Tensor, mix: Mix | None = None) -> Tensor:
        """[B, C, H, W] -> [B, d]; `mix` are the edge weights of a supernet."""
        z: Tensor = self.network(images, mix) if self._mixed else self.network(images)
        return z

    def call(
        self, images: Tensor, mix: Mix | None, weights: Mapping[str, Tensor] | None = None,
        keep_buffers: bool = False,
    ) -> Tensor:  # fmt: skip
        """Run with `weights` in place of the parameters of these names.

        `keep_buffers`: running statistics stay as they are, although the batch's are used.
        """
        replaced = dict(weights or {})
        if keep_buffers:
            replaced |= {name: b.clone() for name, b in self.named_buffers()}
        if not replaced:
            return self(images, mix)  # type: ignore[no-any-return]
        out: Tensor = torch.func.functional_call(self, replaced, (images, mix))
        return out

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


def put_head(network: nn.Module, head: nn.Linear) -> None:
    """Undo `take_head`: `network` returns scores again."""
    for owner in network.modules():
        for key, child in owner.named_children():
            if isinstance(child, TakenHead):
                setattr(owner, key, head)


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
