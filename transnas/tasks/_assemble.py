"""From arrays of images and labels to a task: checks, splits, normalisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.tasks._base import DataTask, Signature
from transnas.tasks._registry import Options
from transnas.tasks._split import (
    Array,
    Labels,
    check_images,
    check_labels,
    first_per_class,
    stratified,
)

if TYPE_CHECKING:
    from transnas.tasks._tensors import TensorSplit

__all__ = ["Part", "assemble"]

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Part:
    """Images [N, C, H, W] (uint8 0..255, or float) and labels [N] of one split."""

    images: Array
    labels: Array

    @property
    def numbers(self) -> Labels:
        """The labels, once they are known to be whole numbers."""
        return self.labels.astype(np.int64)

    def at(self, indices: npt.NDArray[np.int64]) -> Part:
        """Return the images at `indices`."""
        return Part(self.images[indices], self.labels[indices])


def assemble(
    name: str,
    parts: Mapping[str, Part],
    classes: Sequence[str],
    options: Options,
    augmentation: str,
    scale: float | None = None,
    **preprocessing: Any,
) -> DataTask:
    """Return the task called `name` on `parts`: `all`, or `train` and any of the other splits.

    What is missing is split off: from `all`, `options.held_out` each for validation and test; from
    `train`, as much for validation; the test is never made up from `train`. Pixels are multiplied
    by `scale` (None: 1/255 for uint8, else 1) and then normalised to zero mean and unit variance a
    channel, measured on the training split. `preprocessing` is kept beside that in the task.
    Raises `InputError` for data that cannot be trained on.
    """
    checked = {split: _check(part, classes, f"{name} ({split})") for split, part in parts.items()}
    _check_agreement(checked, name)
    final = _split(checked, classes, options, name)
    for split in SPLITS[:2]:
        final[split] = final[split].at(first_per_class(final[split].numbers, options.limit))
    _require_every_class(final["train"].numbers, classes, name)
    if scale is None:
        scale = 1 / 255 if final["train"].images.dtype == np.uint8 else 1.0
    kept = _Kept(tuple(classes), options.augmentation or augmentation, scale, preprocessing)
    return _task(name, final, kept)


@dataclass(frozen=True)
class _Kept:
    """What a task keeps beside its splits."""

    classes: tuple[str, ...]
    augmentation: str
    scale: float
    preprocessing: Mapping[str, Any]


def _check(part: Part, classes: Sequence[str], name: str) -> Part:
    check_images(part.images, name)
    if len(part.images) != len(part.labels):
        raise InputError(
            f"{name} has {len(part.images)} images and {len(part.labels)} labels; "
            "accepted: as many labels as images"
        )
    return Part(part.images, check_labels(part.labels, classes, name))


def _check_agreement(parts: Mapping[str, Part], name: str) -> None:
    shapes = {split: part.images.shape[1:] for split, part in parts.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{split} {shape}" for split, shape in shapes.items())
        raise InputError(f"splits of {name} differ in shape ({listed}); accepted: one shape")
    types = {split: part.images.dtype for split, part in parts.items()}
    if len({found == np.uint8 for found in types.values()}) > 1:  # which are of 0..255, others not
        listed = ", ".join(f"{split} {found}" for split, found in types.items())
        raise InputError(f"splits of {name} differ in type ({listed}); accepted: one type")


def _split(
    parts: Mapping[str, Part], classes: Sequence[str], options: Options, name: str
) -> dict[str, Part]:
    share, seed = options.held_out, options.seed
    if "all" in parts and share:
        whole = parts["all"]
        indices = stratified(whole.numbers, (1 - 2 * share, share, share), seed, classes, name)
        return {split: whole.at(i) for split, i in zip(SPLITS, indices, strict=True)}
    found = {"train" if split == "all" else split: part for split, part in parts.items()}
    if "train" not in found:
        raise InputError(f"{name} has no train split; accepted: train, validation, test")
    if "validation" not in found:
        whole = found["train"]
        if not share:
            return found | {"validation": whole.at(np.arange(0))}
        indices = stratified(whole.numbers, (1 - share, share), seed, classes, name)
        found["train"], found["validation"] = whole.at(indices[0]), whole.at(indices[1])
    return found


def _require_every_class(labels: Labels, classes: Sequence[str], name: str) -> None:
    counts = np.bincount(labels, minlength=len(classes))
    if (counts == 0).any():
        raise InputError(
            f"class {classes[int(counts.argmin())]!r} of {name} has no training image; "
            "accepted: at least one"
        )


def _task(name: str, parts: Mapping[str, Part], kept: _Kept) -> DataTask:
    train, scale = parts["train"].images, kept.scale
    mean, std = _moments(train, scale)
    splits = {split: _tensors(part, scale, mean, std) for split, part in parts.items()}
    return DataTask(
        name,
        Signature(tuple(train.shape[1:]), len(kept.classes)),
        train=splits["train"],
        validation=splits["validation"],
        classes=kept.classes,
        augmentation=kept.augmentation,
        preprocessing={"scale": scale, "mean": mean, "std": std, **kept.preprocessing},
        _test=splits.get("test"),
    )


def _moments(images: Array, scale: float) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation of each channel, of scaled pixels; no zero deviation."""
    mean, std = [], []
    for channel in range(images.shape[1]):
        values = images[:, channel].astype(np.float32) * scale
        mean.append(float(values.mean(dtype=np.float64)))
        spread = float(values.std(dtype=np.float64))
        std.append(spread if spread > 1e-8 else 1.0)
    return mean, std


def _tensors(part: Part, scale: float, mean: list[float], std: list[float]) -> TensorSplit:
    import torch

    from transnas.tasks._tensors import TensorSplit

    images = np.ascontiguousarray(part.images)
    if images.dtype != np.uint8:
        images = images.astype(np.float32)
    return TensorSplit(
        torch.from_numpy(images),
        torch.from_numpy(part.numbers),
        scale,
        torch.tensor(mean)[:, None, None],
        torch.tensor(std)[:, None, None],
    )
