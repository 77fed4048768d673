"""Detection data: images with boxes, as batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.tasks._scenes import Stack, chained
from transnas.tasks._tensors import Batched

__all__ = ["BoxSplit", "check_boxes"]

_SLACK = 1.0
"""Pixels that a box may reach over its image's border, from rounding; it is cut there."""


@dataclass(frozen=True)
class BoxSplit(Batched):
    """A target is `boxes` float32 [n, 4] (x0, y0, x1, y1 in pixels) and `labels` int64 [n]."""

    images: Stack
    """uint8 [N, 3, H, W]"""
    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    mean: Tensor
    std: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    def batch(
        self, indices: Tensor, augmentation: str = "none", generator: torch.Generator | None = None
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Return inputs and targets; `natural` mirrors half of the images with their boxes."""
        images = self.images[indices.to(self.mean.device)]
        boxes = [self.boxes[i] for i in indices.tolist()]
        labels = [self.labels[i] for i in indices.tolist()]
        if augmentation == "natural":
            mirrored = torch.rand(len(indices), generator=generator) < 0.5
            images = torch.where(
                mirrored.to(images.device)[:, None, None, None], images.flip(3), images
            )
            width = images.shape[3]
            boxes = [_mirrored(b, width) if m else b for b, m in zip(boxes, mirrored, strict=True)]
        inputs = (images.float() / 255 - self.mean) / self.std
        targets = [{"boxes": b, "labels": label} for b, label in zip(boxes, labels, strict=True)]
        return inputs, targets

    def to(self, device: torch.device | str) -> BoxSplit:
        """Return the split with its tensors on `device`."""
        return BoxSplit(
            self.images.to(device),
            tuple(b.to(device) for b in self.boxes),
            tuple(label.to(device) for label in self.labels),
            self.mean.to(device),
            self.std.to(device),
        )

    def joined(self, other: Batched) -> BoxSplit | None:
        """Return both as one; None for what has no boxes."""
        if not isinstance(other, BoxSplit):
            return None
        return BoxSplit(
            chained(self.images, other.images),
            (*self.boxes, *other.boxes),
            (*self.labels, *other.labels),
            self.mean,
            self.std,
        )


def _mirrored(boxes: Tensor, width: int) -> Tensor:
    return torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], dim=1)


def check_boxes(
    boxes: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    size: tuple[int, int],
    classes: Sequence[str],
    where: str,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return boxes [n, 4] and labels [n] of an image of `size` (height, width), those of no area
    left out; raises `InputError`, naming `where`, for broken ones."""
    height, width = size
    if not np.isfinite(boxes).all():
        raise InputError(f"a box of {where} holds NaN or infinity; accepted: finite pixels")
    outside = (
        (boxes[:, :2] < -_SLACK).any(axis=1)
        | (boxes[:, 2] > width + _SLACK)
        | (boxes[:, 3] > height + _SLACK)
        | (boxes[:, 2:] < boxes[:, :2]).any(axis=1)
    )
    if outside.any():
        shown = ", ".join(f"{v:g}" for v in boxes[int(outside.argmax())])
        raise InputError(
            f"box ({shown}) of {where} does not lie in its image of {width}x{height} pixels; "
            "accepted: left < right and top < bottom, inside"
        )
    known = (labels >= 0) & (labels < len(classes))
    if not known.all():
        raise InputError(
            f"label {int(labels[int((~known).argmax())])} of {where} is out of range; "
            f"accepted: 0..{len(classes) - 1}"
        )
    boxes = boxes.clip(0, [width, height, width, height])
    kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
    return boxes[kept], labels[kept]
