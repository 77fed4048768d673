"""A task on the user's own torch data sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from transnas._errors import InputError, unknown
from transnas.tasks._base import DataTask, Signature
from transnas.tasks._registry import AUGMENTATIONS
from transnas.tasks._split import check_images, check_labels, stratified
from transnas.tasks._tensors import TensorSplit

__all__ = ["task_from_datasets"]

_CHECKED = 8
"""Pairs that are looked at when a data set is not read into memory."""


def task_from_datasets(
    name: str,
    train: Dataset[Any],
    validation: Dataset[Any] | None,
    test: Dataset[Any] | None,
    classes: tuple[str, ...],
    augmentation: str,
    in_memory: bool,
    seed: int,
) -> DataTask:
    """Do `DataTask.from_datasets`."""
    if augmentation not in AUGMENTATIONS:
        raise unknown("augmentation", augmentation, AUGMENTATIONS)
    given = {"train": train, "validation": validation, "test": test}
    present = {split: data for split, data in given.items() if data is not None}
    if not in_memory:
        return _as_they_are(name, present, classes, augmentation)
    read = {split: _read(data, f"{name} ({split})") for split, data in present.items()}
    if not classes:
        top = max(int(labels.max()) for _, labels in read.values())
        classes = tuple(str(label) for label in range(min(top, 10**6) + 1))
    splits = {s: _checked(*pair, classes, f"{name} ({s})") for s, pair in read.items()}
    if "validation" not in splits:
        splits |= _divided(splits["train"], classes, seed, name)
    _same_shape(splits, name)
    counts = torch.bincount(splits["train"].labels, minlength=len(classes))
    if not counts.all():
        raise InputError(
            f"class {classes[int(counts.argmin())]!r} of {name} has no training image; "
            "accepted: at least one"
        )
    return DataTask(
        name,
        Signature(tuple(splits["train"].images.shape[1:]), len(classes)),
        train=splits["train"],
        validation=splits["validation"],
        classes=classes,
        augmentation=augmentation,
        _test=splits.get("test"),
    )


def _as_they_are(
    name: str, splits: dict[str, Dataset[Any]], classes: tuple[str, ...], augmentation: str
) -> DataTask:
    if "validation" not in splits or not classes:
        raise InputError(
            f"task {name!r} is not read into memory; accepted: with validation and classes given"
        )
    shape: tuple[int, ...] = ()
    for split, data in splits.items():
        images, labels = _read(data, f"{name} ({split})", _CHECKED)
        _checked(images, labels, classes, f"{name} ({split})")
        if shape and tuple(images.shape[1:]) != shape:
            raise InputError(f"splits of {name} differ in shape; accepted: one shape")
        shape = tuple(images.shape[1:])
    return DataTask(
        name,
        Signature(shape, len(classes)),
        train=splits["train"],
        validation=splits["validation"],
        classes=classes,
        augmentation=augmentation,
        _test=splits.get("test"),
    )


def _read(data: Dataset[Any], name: str, most: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the (first `most`) images float32 [N, C, H, W] and labels [N]."""
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise InputError(f"{name} is a {type(data).__name__}; accepted: a data set with a length")
    count = min(len(data), most or len(data))
    if count == 0:
        raise InputError(f"{name} holds no images; accepted: at least one a class")
    images: list[Tensor] = []
    labels: list[float] = []
    for i in range(count):
        image, label = _pair(data[i], i, name)
        if images and image.shape != images[0].shape:
            raise InputError(
                f"image {i} of {name} has shape {tuple(image.shape)}, image 0 "
                f"{tuple(images[0].shape)}; accepted: one shape"
            )
        images.append(image)
        labels.append(label)
    return torch.stack(images), torch.tensor(labels)


def _pair(item: Any, index: int, name: str) -> tuple[Tensor, float]:
    accepted = "accepted: a pair of a float tensor [C, H, W] and a whole number"
    if not isinstance(item, (tuple, list)) or len(item) != 2:
        raise InputError(f"item {index} of {name} is a {type(item).__name__}; {accepted}")
    image, label = item
    if not isinstance(image, Tensor) or image.ndim != 3 or image.is_complex():
        shown = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"image {index} of {name} is {shown}; {accepted}")
    try:
        number = float(label)
    except (TypeError, ValueError, RuntimeError):
        raise InputError(
            f"label of item {index} of {name} is a {type(label).__name__}; {accepted}"
        ) from None
    if not number.is_integer():
        raise InputError(f"label of item {index} of {name} is {number}; {accepted}")
    return image.detach().float().cpu(), number


def _checked(images: Tensor, labels: Tensor, classes: tuple[str, ...], name: str) -> TensorSplit:
    check_images(images.numpy(), name)
    numbers = torch.from_numpy(check_labels(labels.numpy(), classes, name))
    channels = images.shape[1]
    zero, one = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)
    return TensorSplit(images, numbers, 1.0, zero, one)


def _divided(
    split: TensorSplit, classes: tuple[str, ...], seed: int, name: str
) -> dict[str, TensorSplit]:
    parts = stratified(split.labels.numpy().astype(np.int64), (0.8, 0.2), seed, classes, name)
    return {
        key: TensorSplit(
            split.images[torch.from_numpy(part)],
            split.labels[torch.from_numpy(part)],
            split.scale,
            split.mean,
            split.std,
        )
        for key, part in zip(("train", "validation"), parts, strict=True)
    }


def _same_shape(splits: dict[str, TensorSplit], name: str) -> None:
    shapes = {split: tuple(data.images.shape[1:]) for split, data in splits.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise InputError(f"splits of {name} differ in shape ({listed}); accepted: one shape")
