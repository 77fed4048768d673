"""A supernet in milliseconds whose best architecture is known, and a task for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from transnas import oneshot
from transnas.networks import Form, Operation, Supernet
from transnas.networks.relaxations import Mix, Relaxation
from transnas.oneshot import Settings
from transnas.spaces import Architecture, Choice, Space
from transnas.tasks import DataTask, Signature

OPERATIONS = ("noisy", "skip_keep", "none")
BEST = (1, 1)


class Chain(Space):
    """Two operations, one after the other; only `skip_keep` lets the input through unharmed."""

    name = "toy-chain"
    choices = (Choice("first", OPERATIONS), Choice("second", OPERATIONS))


class ChainSupernet(Supernet):
    """Mixes the three operations twice, then classifies the channels' means."""

    has_edges = True

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form,
        **skeleton: Any,
    ) -> None:
        available = [range(len(OPERATIONS))] * 2
        super().__init__(space, signature, relaxation, form, available, skeleton, (1, 1))
        self.head = nn.Linear(signature.input_shape[0], signature.outputs)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        for edge in range(2):
            made = (x + 2 * torch.randn_like(x), x, torch.zeros_like(x))
            terms = [mix.weights[edge, code] * made[code] for code in mix.active(edge)]
            x = torch.stack(terms).sum(0) if terms else torch.zeros_like(x)
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out

    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        return arch.values

    def operation(self, row: int, code: int) -> Operation:
        return Operation(OPERATIONS[code])

    def discretise(self, shares: Tensor) -> Architecture:
        return self.space.architecture(shares.argmax(dim=1).tolist())

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        return name


def brighter(count: int = 256, offset: float = 0.0) -> DataTask:
    """Return the task which of two channels is brighter; validation images are moved by offset."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 2, 2, 2, generator=generator)
    labels = (images[:, 0].mean(dim=(1, 2)) > images[:, 1].mean(dim=(1, 2))).long()
    half = count // 2
    images[half:] += offset
    train, held = (TensorDataset(images[s], labels[s]) for s in (slice(half), slice(half, None)))
    return DataTask.from_datasets("brighter", train, held)


SPECIAL = {
    "p-darts": {"epochs": 24},
    "proxylessnas": {"logits_every": 1},
    "enas": {"controller_steps": 4, "rewards": 5, "controller_learning_rate": 0.03},
    "pc-darts": {"partial": 1},
    "darts-plus": {"earliest": 6, "skips": 9},
    "robust-darts": {"earliest": 6},
    "setn": {"epochs": 16, "learning_rate": 0.1},  # single samples train the head noisily
}
"""What a search of seconds needs beside what all have."""


def quick(method: str, **changes: Any) -> Settings:
    """Return the settings of `method`, for a search of seconds on the toy."""
    kind = oneshot.get(method).Settings
    wanted = {
        "epochs": 8,
        "batch_size": 32,
        "learning_rate": 0.3,
        "logits_learning_rate": 0.2,
        "logits_from": 0,
        "candidates": 60,
        **SPECIAL.get(method, {}),
        **changes,
    }
    found: Settings = kind(**{k: v for k, v in wanted.items() if k in kind.__dataclass_fields__})
    return found
