"""A task's own images for a prior: the support to adapt to, and a measurement."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.tasks import DataTask
from transnas.tasks._tensors import TensorSplit

if TYPE_CHECKING:
    from transnas.meta.few_shot.adapted import Adapted
    from transnas.meta.few_shot.prior import FewShotPrior

__all__ = ["draw_support", "drawn", "measured", "outside"]

_AT_ONCE = 200
_ROUNDING = 1e-3
"""How far pixels may leave 0..1."""
_FAR, _OTHER_SPREAD = 2.0, 4.0
"""Means that differ by so many deviations, and deviations by such a factor, call for a warning.
Pixels of 0..16 read as 0..255 have a sixteenth of the deviation."""


def draw_support(
    task: DataTask, prior: FewShotPrior, shots: int, seed: int
) -> tuple[Tensor, Tensor, TensorSplit]:
    """Return `shots` training images of each class [way * shots, C, H, W], pixels 0..1, and labels.

    The third is what is left to measure on: the task's validation images or, if it has none, the
    other training images. Raises `InputError` for a task that does not fit the prior.
    """
    way = prior.settings["way"]
    check_whole("shots", shots, 1)
    check_whole("seed", seed, 0)
    if task.signature.outputs != way:
        raise InputError(
            f"task {task.name!r} has {task.signature.outputs} classes; accepted by this prior: "
            f"{way} (its way), or no shots, for a search that starts from the prior"
        )
    if task.signature.input_shape != prior.input_shape:
        raise InputError(
            f"images of task {task.name!r} have shape {task.signature.input_shape}; accepted by "
            f"this prior: {prior.input_shape}"
        )
    return drawn(task, prior, shots, seed)


def drawn(
    task: DataTask, prior: FewShotPrior, shots: int, seed: int
) -> tuple[Tensor, Tensor, TensorSplit]:
    """Return what `draw_support` does, for a task of any way and image size."""
    split = _in_memory(task.train, task)
    labels = split.labels.numpy()
    rng = np.random.default_rng(seed)
    chosen = []
    for label in range(len(task.classes)):
        own = np.flatnonzero(labels == label)
        if len(own) < shots:
            raise InputError(
                f"class {task.classes[label]!r} of task {task.name!r} has {len(own)} training "
                f"images; accepted: shots up to {len(own)}"
            )
        chosen.append(rng.permutation(own)[:shots])
    indices = torch.from_numpy(np.concatenate(chosen))
    left = _left(task, split, indices)
    for part in (split, left):
        _check_pixels(part, task)
    support = split.images[indices].float() * split.scale
    _compare_pixels(support, task, prior)
    return support, split.labels[indices], left


def _left(task: DataTask, split: TensorSplit, used: Tensor) -> TensorSplit:
    """Return the validation images or, if there are none, the training images beside `used`."""
    found = _in_memory(task.validation, task)
    if len(found):
        return found
    others = torch.from_numpy(np.setdiff1d(np.arange(len(split)), used))
    return replace(split, images=split.images[others], labels=split.labels[others])


def _check_pixels(split: TensorSplit, task: DataTask) -> None:
    wrong = outside(split.images, split.scale)
    if wrong:
        raise InputError(
            f"pixels of task {task.name!r} are {wrong}; accepted by this prior: 0 to 1, or whole "
            "numbers of 8 bits from 0 to 255"
        )


def outside(images: Tensor, scale: float = 1.0) -> str:
    """Say where scaled pixels are if some are not in 0..1; empty: all are."""
    if images.numel() == 0:
        return ""
    low, high = (float(bound) * scale for bound in images.aminmax())
    inside = low >= -_ROUNDING and high <= 1 + _ROUNDING
    return "" if inside else f"from {low:.4g} to {high:.4g}"


def _compare_pixels(support: Tensor, task: DataTask, prior: FewShotPrior) -> None:
    """Warn of images that are far darker, brighter or flatter than those that were learnt from."""
    std, mean = torch.std_mean(support, dim=(0, 2, 3))
    centre, spread = torch.tensor(prior.mean), torch.tensor(prior.std)
    moved = ((mean - centre).abs() > _FAR * spread).any()
    scaled = ((std * _OTHER_SPREAD < spread) | (std > _OTHER_SPREAD * spread)).any()
    if moved or scaled:
        own, learnt = (
            f"mean {float(m.mean()):.3f}, deviation {float(s.mean()):.3f}"
            for m, s in ((mean, std), (centre, spread))
        )
        warnings.warn(
            f"pixels of task {task.name!r} ({own}) are unlike those that the prior was learnt from "
            f"({learnt}), so that it may predict badly; both are in 0..1 after scaling",
            stacklevel=2,
        )


def measured(found: Adapted, split: TensorSplit, seconds: float) -> Adapted:
    """Return `found` with its accuracy on the images of `split`; NaN if there are none."""
    if len(split) == 0:
        return replace(found, seconds=seconds)
    right = 0
    for first in range(0, len(split), _AT_ONCE):
        part = split.images[first : first + _AT_ONCE].float() * split.scale
        guesses = found.probabilities(part).argmax(dim=1)
        right += int((guesses == split.labels[first : first + _AT_ONCE]).sum())
    return replace(found, accuracy=right / len(split), images=len(split), seconds=seconds)


def _in_memory(split: object, task: DataTask) -> TensorSplit:
    if not isinstance(split, TensorSplit):
        raise InputError(
            f"images of task {task.name!r} are not in memory; accepted: a folder, a .npz file, a "
            "built-in task, or DataTask.from_datasets with in_memory=True"
        )
    return split
