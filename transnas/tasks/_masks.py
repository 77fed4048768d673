"""Segmentation data: images with a class for each pixel, as batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.tasks._scenes import IGNORED, Stack, chained
from transnas.tasks._tensors import Batched

__all__ = ["MaskSplit", "check_mask", "pixels"]


@dataclass(frozen=True)
class MaskSplit(Batched):
    """A target is a class for each pixel, int64 [H, W]; 255 is ignored."""

    images: Stack
    """uint8 [N, 3, H, W]"""
    masks: Stack
    """uint8 [N, H, W]"""
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.images)

    def batch(
        self, indices: Tensor, augmentation: str = "none", generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return inputs and targets; `natural` mirrors half of the images with their masks."""
        indices = indices.to(self.mean.device)
        images, masks = self.images[indices], self.masks[indices]
        if augmentation == "natural":
            mirrored = (torch.rand(len(indices), generator=generator) < 0.5).to(images.device)
            images = torch.where(mirrored[:, None, None, None], images.flip(3), images)
            masks = torch.where(mirrored[:, None, None], masks.flip(2), masks)
        return (images.float() / 255 - self.mean) / self.std, masks.long()

    def to(self, device: torch.device | str) -> MaskSplit:
        """Return the split with its tensors on `device`."""
        stacks = self.images.to(device), self.masks.to(device)
        return MaskSplit(*stacks, self.mean.to(device), self.std.to(device))

    def joined(self, other: Batched) -> MaskSplit | None:
        """Return both as one; None for what has no masks."""
        if not isinstance(other, MaskSplit):
            return None
        images, masks = chained(self.images, other.images), chained(self.masks, other.masks)
        return MaskSplit(images, masks, self.mean, self.std)


def check_mask(
    mask: npt.NDArray[np.uint8], size: tuple[int, int], classes: Sequence[str], where: str
) -> npt.NDArray[np.uint8]:
    """Return `mask` [H, W]; raises `InputError`, naming `where`, for a wrong size or class."""
    if mask.shape != size:
        raise InputError(
            f"mask of {where} has {pixels(mask.shape)} pixels and its image {pixels(size)}; "
            "accepted: one size"
        )
    ids = np.flatnonzero(np.bincount(mask.ravel(), minlength=256))
    unknown = ids[(ids >= len(classes)) & (ids != IGNORED)]
    if len(unknown):
        raise InputError(
            f"mask of {where} has class {int(unknown[0])}; accepted: 0..{len(classes) - 1}, or "
            f"{IGNORED} for ignored pixels"
        )
    return mask


def pixels(shape: Sequence[int]) -> str:
    """Return a size (height, width) as people write it."""
    return "x".join(map(str, reversed(shape)))
