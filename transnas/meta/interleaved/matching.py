"""Matched augmented sets: the same augmented pixels of both tasks, for teacher and student."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from transnas.meta.interleaved.streams import fetch
from transnas.tasks import DataTask, Signature
from transnas.tasks._tensors import augment

__all__ = ["Matched", "Matcher", "adapt_channels", "fit_to"]

_JITTER = 0.2
"""Largest relative change of contrast, and change of brightness in standard deviations."""
_CUTOUT = 4
"""Side of the image over the side of the square that is cut out."""
_LARGEST = 64
"""Longest side of the images in matched sets: pooled features need no finer ones."""


class Matched(NamedTuple):
    """Augmented sets A_i = {r augmentations of anchor x_i}, one after the other."""

    student: Tensor
    """[sets * r, C, H, W], as the student takes them."""
    teacher: Tensor
    """The same pixels with the teacher's number of channels."""
    sets: int
    from_previous: int
    """How many of the sets come from the previous task; they stand first."""

    def crosses(self) -> Tensor:
        """Return for each pair of sets whether it spans both tasks: bool [sets, sets]."""
        previous = torch.arange(self.sets) < self.from_previous
        return previous[:, None] != previous[None, :]

    def to(self, device: torch.device) -> Matched:
        """Return the same sets on `device`."""
        return self._replace(student=self.student.to(device), teacher=self.teacher.to(device))


@dataclass
class Matcher:
    """Draws matched sets for one student; `generator` is a stream of its own."""

    task: DataTask
    anchors: int
    """Examples of each task, without replacement (all of a smaller task)."""
    views: int
    """r: augmentations of each example."""
    sources: str
    generator: torch.Generator

    def draw(self, previous: DataTask) -> Matched:
        """Return sets of examples of `previous`, then of this task, both from training data.

        Size (64 pixels at most) and channels become this task's; the teacher's copy then has the
        channels of `previous`.
        """
        signature = _bounded(self.task.signature)
        parts, counts = [], []
        for name, task in (("previous", previous), ("current", self.task)):
            if self.sources in ("both", name):
                images = fit_to(self._anchors(task.train), signature)
                parts.append(images)
                counts.append(len(images) if name == "previous" else 0)
        views = torch.cat(parts).repeat_interleave(self.views, 0)
        flips = "natural" in (previous.augmentation, self.task.augmentation)
        student = self._augment(views, flips).contiguous(memory_format=torch.channels_last)
        teacher = adapt_channels(student, previous.signature.input_shape[0])
        return Matched(student, teacher, len(views) // self.views, sum(counts))

    def _anchors(self, split: Dataset[object]) -> Tensor:
        count = len(split)  # type: ignore[arg-type]
        return fetch(split, torch.randperm(count, generator=self.generator)[: self.anchors])

    def _augment(self, images: Tensor, flips: bool) -> Tensor:
        """Move, mirror (if one of the tasks allows it), jitter and cut out; same shape."""
        images = augment(images, "natural" if flips else "shift", self.generator)
        count, channels, height, width = images.shape
        contrast, brightness = (
            (2 * torch.rand(count, c, 1, 1, generator=self.generator) - 1) * _JITTER
            for c in (1, channels)
        )
        images = images * (1 + contrast) + brightness
        side = max(1, min(height, width) // _CUTOUT)
        top, left = (
            torch.randint(n - side + 1, (count, 1, 1), generator=self.generator)
            for n in (height, width)
        )
        rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
        inside = (rows >= top) & (rows < top + side) & (columns >= left) & (columns < left + side)
        return images.masked_fill(inside[:, None], 0.0)


def _bounded(signature: Signature) -> Signature:
    channels, *sides = signature.input_shape
    factor = min(1.0, _LARGEST / max(sides))
    shape = (channels, *(max(1, round(side * factor)) for side in sides))
    return replace(signature, input_shape=shape)


def fit_to(images: Tensor, signature: Signature) -> Tensor:
    """Return images [B, C, H, W] with channels and size of `signature`."""
    channels, height, width = signature.input_shape
    images = adapt_channels(images, channels)
    if images.shape[2:] != (height, width):
        images = F.interpolate(images, (height, width), mode="bilinear", antialias=True)
    return images


def adapt_channels(images: Tensor, channels: int) -> Tensor:
    """Return images [B, C, H, W] with so many channels: as they are, or grey repeated."""
    if images.shape[1] == channels:
        return images
    return images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
