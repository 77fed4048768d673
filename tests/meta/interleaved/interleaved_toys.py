"""A toy supernet of two mixed edges, smooth and fast, and small tasks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from transnas.networks import Form, Operation, Supernet
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Architecture, Choice, Space
from transnas.tasks import DataTask, Signature

torch.set_num_threads(1)
NAME = "toy-smooth"
OPERATIONS = ("conv", "keep", "zero")


class ToySpace(Space):
    """Two operations, one after the other."""

    name = NAME
    choices = (Choice("first", OPERATIONS), Choice("second", OPERATIONS))


class _Body(nn.Module):
    def __init__(self, signature: Signature, width: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(signature.input_shape[0], width, 3, 2, 1)
        self.edges = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(2))
        self.head = nn.Linear(width, signature.outputs)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        x = torch.tanh(self.stem(x))
        for e, edge in enumerate(self.edges):
            made = (torch.tanh(edge(x)), x, torch.zeros_like(x))
            terms = [mix.weights[e, code] * made[code] for code in mix.active(e)]
            x = torch.stack(terms).sum(0)
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out


class ToySupernet(Supernet):
    """Smooth in weights and logits."""

    has_edges = True

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        width: int = 4,
    ) -> None:
        codes = [range(len(OPERATIONS))] * 2
        super().__init__(space, signature, relaxation, form, codes, {"width": width}, nodes=(1, 1))
        self.network = _Body(signature, width)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        return self.network.run(x, mix)

    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        return arch.values

    def operation(self, row: int, code: int) -> Operation:
        return Operation(OPERATIONS[code])

    def discretise(self, shares: Tensor) -> Architecture:
        return self.space.architecture(shares.argmax(dim=1).tolist())

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        return name


class _Discrete(nn.Module):
    def __init__(self, arch: Architecture, signature: Signature, width: int) -> None:
        super().__init__()
        self.body = _Body(signature, width)
        self.arch = arch

    def forward(self, x: Tensor) -> Tensor:
        weights = torch.zeros(2, 3)
        for e, code in enumerate(self.arch.values):
            weights[e, code] = 1.0
        return self.body.run(x, Mix(weights, tuple((c,) for c in self.arch.values)))


def build_toy(space: Space, arch: Architecture, signature: Signature, width: int = 4) -> Any:
    return _Discrete(arch, signature, width)


def stripes(
    name: str, count: int = 48, classes: int = 3, channels: int = 1, side: int = 8, seed: int = 0
) -> DataTask:
    """Return a task: how many stripes does a noisy picture have?"""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % classes
    x = torch.linspace(0, 2 * torch.pi, side)
    pictures = torch.sin((labels[:, None] + 1) * x)[:, None, None, :]
    images = pictures.expand(-1, channels, side, -1)
    images = images + 0.3 * torch.randn(images.shape, generator=generator)
    third = count // 3
    parts = [TensorDataset(images[s::3], labels[s::3]) for s in range(3)] if classes != 3 else [
        TensorDataset(images[s * third : (s + 1) * third], labels[s * third : (s + 1) * third])
        for s in range(3)
    ]  # fmt: skip
    return DataTask.from_datasets(name, parts[0], parts[1], parts[2])
