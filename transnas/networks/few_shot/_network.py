"""The base of networks for few-shot learning: pure functions of parameters, for many tasks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas._errors import InputError, unknown
from transnas.networks.few_shot._functional import Norm, Params
from transnas.tasks import Signature

__all__ = ["HEAD", "LOGITS", "FewShotNetwork", "Layout", "images_first", "run"]

LOGITS = "logits"
"""Name of a supernet's architecture parameters."""
HEAD = "head."
"""Start of the names of the last layer's parameters."""
Layout = Literal["grouped", "vmap"]
"""How a forward pass holds several tasks: as groups of channels, or by `torch.func.vmap`."""


class FewShotNetwork(ABC):
    """A network without state: `shapes` names its parameters, `forward` computes with them."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.shapes: dict[str, tuple[int, ...]] = {}

    @property
    def structure(self) -> str:
        """What is computed with the parameters: equal networks have equal `shapes` and this."""
        return type(self).__name__

    def fuses(self, x: Tensor) -> bool:
        """Whether a compiled kernel computes a part of the network, for numbers like those of x."""
        return False

    @abstractmethod
    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """Images [n, B C, H, W] of B tasks -> [B, n, outputs]; `params[name]` is [B, *shape]."""

    def loss(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs [B, n, classes], labels [B, n] -> mean cross-entropy of each task [B]."""
        losses = F.cross_entropy(outputs.flatten(0, 1), labels.flatten(), reduction="none")
        return losses.view(labels.shape).mean(dim=1)

    def accuracy(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Outputs [B, n, classes], labels [B, n] -> share of right answers in a task [B]."""
        return (outputs.argmax(dim=2) == labels).double().mean(dim=1)

    def init(self, generator: torch.Generator) -> dict[str, Tensor]:
        """Draw parameters: convolutions and head uniform by fan-in, normalisations 1 and 0."""
        return {name: self.draw(name, generator) for name in self.shapes}

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        """Draw one parameter as torch's layers do; logits are 1e-3 N(0, 1) (DARTS)."""
        shape = self.shapes[name]
        if name == LOGITS:
            return 1e-3 * torch.randn(shape, generator=generator)
        if name.endswith(".scale"):
            return torch.ones(shape)
        if name.endswith((".shift", ".bias")):
            return torch.zeros(shape)
        spatial = shape[-3:] if len(shape) > 2 else shape[-1:]
        bound = float(torch.tensor(spatial).prod()) ** -0.5
        return torch.empty(shape).uniform_(-bound, bound, generator=generator)

    @property
    def count(self) -> int:
        """Number of weights; architecture parameters are not counted."""
        sizes = {n: int(torch.tensor(shape).prod()) for n, shape in self.shapes.items()}
        return sum(size for name, size in sizes.items() if name != LOGITS)

    def _affine(self, name: str, channels: int) -> None:
        """Enter scale and shift of a normalisation."""
        self.shapes[f"{name}.scale"] = (channels,)
        self.shapes[f"{name}.shift"] = (channels,)

    def _linear(self, features: int) -> None:
        """Enter the last layer."""
        self.shapes[f"{HEAD}weight"] = (self.signature.outputs, features)
        self.shapes[f"{HEAD}bias"] = (self.signature.outputs,)


def images_first(x: Tensor, channels_last: bool = False) -> Tensor:
    """[B, n, C, H, W] -> [n, B C, H, W]."""
    flat = x.transpose(0, 1).flatten(1, 2)
    if channels_last:
        return flat.contiguous(memory_format=torch.channels_last)
    return flat.contiguous()


def run(
    network: FewShotNetwork,
    params: Params,
    x: Tensor,
    norm: Norm,
    layout: Layout = "grouped",
    channels_last: bool = False,
) -> Tensor:
    """Images [B, n, C, H, W] -> [B, n, outputs], `params[name]` [B, *shape]."""
    if layout not in get_args(Layout):
        raise unknown("layout", layout, get_args(Layout))
    if x.shape[2:] != network.signature.input_shape:
        raise InputError(
            f"images have shape {tuple(x.shape[2:])}; accepted by this network: "
            f"{network.signature.input_shape}"
        )
    if layout == "grouped":
        return network.forward(params, images_first(x, channels_last), norm)

    def one(own: dict[str, Tensor], images: Tensor) -> Tensor:
        single = {name: value[None] for name, value in own.items()}
        return network.forward(single, images, norm)[0]

    out: Tensor = torch.func.vmap(one)(dict(params), x)
    return out
