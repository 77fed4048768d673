"""Endless streams of batches whose place can be saved and found again; seeds by purpose."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from transnas.evaluation.training import Batches
from transnas.tasks._tensors import Batched

__all__ = ["Stream", "seeded"]


def seeded(seed: int, purpose: str, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator of its own for each purpose, so that one feature leaves others alone."""
    drawn = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1)[0]
    return torch.Generator(device).manual_seed(int(drawn))


class Stream:
    """The batches of a split, one shuffled epoch after the other."""

    def __init__(
        self,
        split: Dataset[Any],
        size: int,
        device: torch.device,
        generator: torch.Generator,
        augmentation: str = "none",
    ) -> None:
        self._batches = Batches(split, size, device, generator)
        self._generator = generator
        self._augmentation = augmentation
        self._start_epoch()

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._batches)

    def next(self) -> tuple[Tensor, Tensor]:
        """Return the next batch: inputs [B, C, H, W] and labels [B]."""
        if self._taken == len(self):
            self._start_epoch()
        self._taken += 1
        return next(self._epoch)

    def state(self) -> dict[str, Any]:
        """Return the place in the stream."""
        split = self._batches.split
        carried = split.memory() if isinstance(split, Batched) else None
        return {"generator": self._begun_with, "taken": self._taken, "carried": carried}

    def restore(self, state: dict[str, Any]) -> None:
        """Go to a place from `state`; the batches of its epoch before it are drawn again."""
        self._generator.set_state(state["generator"])
        self._start_epoch()
        for _ in range(state["taken"]):
            self.next()
        if isinstance(self._batches.split, Batched) and state["carried"] is not None:
            self._batches.split.recall(state["carried"])

    def _start_epoch(self) -> None:
        self._begun_with = self._generator.get_state()
        self._taken = 0
        self._epoch: Iterator[tuple[Tensor, Tensor]] = self._batches.epoch(self._augmentation)
