"""The same task on smaller or larger images, grey or in colour."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.tasks._base import DataTask, Signature
from transnas.tasks._tensors import TensorSplit

__all__ = ["require_resizable", "resized"]

_CHUNK = 2048


def resized(task: DataTask, side: int, channels: int | None = None) -> DataTask:
    """Return `task` on square images of `side` pixels, with so many `channels` (None: its own).

    Pixels are averaged over the area that they cover; grey is the mean of the colours. The split
    stays, images are kept as float32, and normalisation is that of the given task. Raises
    `InputError` as `require_resizable` does.
    """
    require_resizable(task, side, channels)
    kept = channels or task.signature.input_shape[0]
    splits: dict[str, Any] = {
        name: _resized(split, side, kept)
        for name, split in (("train", task.train), ("validation", task.validation))
    }
    if task._test is not None:
        splits["_test"] = _resized(task._test, side, kept)
    about = {**task.preprocessing, "size": side, "channels": kept}
    signature = Signature((kept, side, side), task.signature.outputs)
    return replace(task, signature=signature, preprocessing=about, final_tests=[], **splits)


def require_resizable(task: DataTask, side: int, channels: int | None = None) -> None:
    """Raise `InputError` unless `task` is a classification in memory, and the numbers fit."""
    check_whole("size", side, 4)
    if channels not in (None, 1, 3):
        raise InputError(f"channels {channels!r} is not accepted; accepted: 1 or 3")
    if task.kind != "classification":
        raise InputError(
            f"task {task.name!r} is a {task.kind}, whose images stay as they are; accepted: "
            "classification"
        )
    splits = (task.train, task.validation, *([] if task._test is None else [task._test]))
    if not all(isinstance(split, TensorSplit) for split in splits):
        raise InputError(f"task {task.name!r} is not held in memory; accepted: one that is")


def _resized(split: Dataset[Any], side: int, channels: int) -> TensorSplit:
    assert isinstance(split, TensorSplit)
    images = torch.cat(
        [
            _small(split._normalise(part), side, channels)
            for part in torch.split(split.images, _CHUNK)
        ]
    )
    zero, one = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)
    return TensorSplit(images, split.labels, 1.0, zero, one)


def _small(images: Tensor, side: int, channels: int) -> Tensor:
    if images.shape[1] != channels:
        images = images.mean(dim=1, keepdim=True).expand(-1, channels, -1, -1)
    if max(images.shape[2:]) > side:
        return F.interpolate(images, (side, side), mode="area").contiguous()
    return F.interpolate(images, (side, side), mode="bilinear").contiguous()
