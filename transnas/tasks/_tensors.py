"""Images held in memory as one tensor, so that a batch is a slice and not a collation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import ConcatDataset, Dataset

from transnas._errors import unknown

__all__ = ["Batched", "TensorSplit", "augment", "concatenate"]


class Batched(Dataset[Any]):
    """A split that makes whole batches itself, faster than item by item."""

    follows = False
    """Whether a batch goes on where the last one ended, so that they are not shuffled."""

    def arranged(self, size: int) -> Batched:
        """Return the split for batches of `size` items."""
        return self

    def memory(self) -> Tensor | None:
        """Return what later batches depend on beside the data, for `recall`; None: nothing."""
        return None

    def recall(self, memory: Tensor) -> None:
        """Go on with a `memory`."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(
        self, indices: Tensor, augmentation: str = "none", generator: torch.Generator | None = None
    ) -> tuple[Tensor, Any]:
        """Return inputs float32 [B, C, H, W] and the targets of `indices` [B]."""

    @abstractmethod
    def to(self, device: torch.device | str) -> Batched:
        """Return the split with its tensors on `device`."""

    @abstractmethod
    def joined(self, other: Batched) -> Batched | None:
        """Return both as one split, normalised as this one; None if they do not go together."""


@dataclass(frozen=True)
class TensorSplit(Batched):
    """A split in memory: item i is (float32 [C, H, W], label).

    `images` [N, C, H, W] keep the type of the source (uint8 is a quarter of float32); an input is
    `images * scale`, minus `mean`, divided by `std` (both [C, 1, 1]).
    """

    images: Tensor
    labels: Tensor
    """int64 [N]"""
    scale: float
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self._normalise(self.images[index]), int(self.labels[index])

    def batch(
        self, indices: Tensor, augmentation: str = "none", generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return inputs float32 [B, C, H, W] and labels int64 [B] of `indices` [B].

        `augmentation` is applied to each image anew, drawn from `generator` (on the CPU).
        """
        indices = indices.to(self.labels.device)
        images = augment(self.images[indices], augmentation, generator)
        return self._normalise(images), self.labels[indices]

    def to(self, device: torch.device | str) -> TensorSplit:
        """Return the split with its tensors on `device`."""
        moved = (t.to(device) for t in (self.images, self.labels, self.mean, self.std))
        images, labels, mean, std = moved
        return TensorSplit(images, labels, self.scale, mean, std)

    def joined(self, other: Batched) -> TensorSplit | None:
        """Return both as one; None if types or scales differ."""
        if (
            not isinstance(other, TensorSplit)
            or self.images.dtype != other.images.dtype
            or self.scale != other.scale
            or not torch.equal(self.mean, other.mean)
            or not torch.equal(self.std, other.std)
        ):
            return None
        images = torch.cat([self.images, other.images])
        labels = torch.cat([self.labels, other.labels])
        return TensorSplit(images, labels, self.scale, self.mean, self.std)

    def _normalise(self, images: Tensor) -> Tensor:
        return (images.float() * self.scale - self.mean) / self.std


def augment(images: Tensor, kind: str, generator: torch.Generator | None = None) -> Tensor:
    """Return `images` [B, C, H, W] each moved (and flipped) at random; same shape and type.

    `shift`: by up to an eighth of the side in each direction; `natural`: the same (the published
    4 pixels on 32) and mirrored half of the time; `none`: as they are. What enters at the border
    is zero. Raises `InputError` for another `kind`.
    """
    if kind not in _KINDS:
        raise unknown("augmentation", kind, _KINDS)
    return _KINDS[kind](images, generator)


def _shift(images: Tensor, generator: torch.Generator | None) -> Tensor:
    count, _, height, width = images.shape
    reach = max(1, height // 8), max(1, width // 8)
    padded = F.pad(images, (reach[1], reach[1], reach[0], reach[0]))
    dy, dx = (torch.randint(2 * r + 1, (count, 1), generator=generator) for r in reach)
    rows = (dy + torch.arange(height)).to(images.device)
    columns = (dx + torch.arange(width)).to(images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    moved = padded[which, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]
    return moved.permute(0, 3, 1, 2)


def _natural(images: Tensor, generator: torch.Generator | None) -> Tensor:
    moved = _shift(images, generator)
    mirrored = torch.rand(len(images), generator=generator).to(images.device) < 0.5
    return torch.where(mirrored[:, None, None, None], moved.flip(3), moved)


def cutout(images: Tensor, side: int, generator: torch.Generator | None = None) -> Tensor:
    """Zero a square of each of `images` [B, C, H, W], its centre uniform, cut at the borders.

    DeVries & Taylor, "Improved Regularization of CNNs with Cutout" (2017).
    """
    inside = []
    for axis in (2, 3):
        length = images.shape[axis]
        centre = torch.randint(length, (len(images), 1), generator=generator)
        first = centre - side // 2
        place = torch.arange(length)
        inside.append((place >= first) & (place < first + side))
    hidden = (inside[0][:, :, None] & inside[1][:, None, :]).to(images.device)
    return images.masked_fill(hidden[:, None], 0.0)


_KINDS: dict[str, Callable[[Tensor, torch.Generator | None], Tensor]] = {
    "none": lambda images, generator: images,
    "shift": _shift,
    "natural": _natural,
}


def concatenate(first: Dataset[Any], second: Dataset[Any]) -> Dataset[Any]:
    """Return both as one data set; in memory (normalised as `first`) where both are."""
    if isinstance(first, Batched) and isinstance(second, Batched):
        return first.joined(second) or ConcatDataset([first, second])
    return ConcatDataset([first, second])
