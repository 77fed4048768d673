"""Streams of batches that never end and resume exactly, and the seeds that keep them apart."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from transnas.evaluation.training import Batches
from transnas.tasks._tensors import TensorSplit

__all__ = ["Stream", "fetch", "stream_seed"]


def stream_seed(seed: int, *names: str) -> int:
    """Return the seed of what `names` name: streams do not depend on the order of tasks."""
    text = "\0".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


class Stream:
    """The batches of one shuffled epoch after the other, drawn from a generator of its own."""

    def __init__(
        self,
        split: Dataset[Any],
        batch_size: int,
        device: torch.device,
        seed: int,
        augmentation: str,
    ) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self._batches = Batches(split, batch_size, device, self._generator)
        self._augmentation = augmentation
        self._epoch: Iterator[Any] = iter(())
        self._start = self._generator.get_state()
        self._taken = 0

    def __len__(self) -> int:
        """Return the batches of an epoch."""
        return len(self._batches)

    def next(self) -> Any:
        """Return the next batch: inputs and targets on the device."""
        for batch in self._epoch:
            self._taken += 1
            return batch
        self._begin()
        return self.next()

    def state(self) -> dict[str, Any]:
        """Return the generator's state at the start of this epoch, and the batches taken since."""
        return {"start": self._start, "taken": self._taken}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly from `state()`; batches taken in this epoch are drawn once more."""
        self._generator.set_state(state["start"])
        self._begin()
        for _ in range(int(state["taken"])):
            next(self._epoch)
        self._taken = int(state["taken"])

    def _begin(self) -> None:
        self._start = self._generator.get_state()
        self._epoch = iter(self._batches.epoch(self._augmentation))
        self._taken = 0


def fetch(split: Dataset[Any], indices: Tensor) -> Tensor:
    """Return the inputs [B, C, H, W] at `indices`, not augmented, on the CPU."""
    if isinstance(split, TensorSplit):
        return split.batch(indices)[0].cpu()
    images: Tensor = default_collate([split[int(i)][0] for i in indices])
    return images.float()
