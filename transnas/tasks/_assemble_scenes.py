"""From images with boxes or masks to a task: checks, splits, one frame, normalisation."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from transnas._errors import InputError
from transnas.tasks._base import DataTask, Signature
from transnas.tasks._boxes import BoxSplit, check_boxes
from transnas.tasks._masks import MaskSplit, check_mask, pixels
from transnas.tasks._registry import Options
from transnas.tasks._scenes import IGNORED, Frame, Stack, frame_of, stacked
from transnas.tasks._split import Array, cuts_of

__all__ = ["Boxed", "Masked", "assemble_boxes", "assemble_masks", "head"]

_Source = bytes | Path
_T = TypeVar("_T")
_FOR_MOMENTS = 500
"""Training images from which mean and deviation are measured."""


@dataclass(frozen=True)
class Boxed:
    """An image, coded as a file, with its boxes [n, 4] (x0, y0, x1, y1 in its pixels)."""

    image: _Source
    size: tuple[int, int]
    """height, width"""
    boxes: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    name: str


@dataclass(frozen=True)
class Masked:
    """An image and its mask, both coded as files.

    `classes` [256] says which class (255: ignored) a number in the mask's file stands for, and
    the number itself where it stands for none.
    """

    image: _Source
    mask: _Source
    name: str
    classes: tuple[int, ...] = tuple(range(256))


def assemble_boxes(
    name: str, parts: Mapping[str, Sequence[Boxed]], classes: Sequence[str], options: Options
) -> DataTask:
    """Return the detection task on `parts`: `all`, or `train` and any of the other splits.

    Images are brought to one frame (`_scenes.frame_of`), with `options.size` as its longest side;
    `options.limit` images of a split are kept, evenly spread. Raises `InputError` for data that
    cannot be trained on.
    """
    _require_scene_options(options, name)
    scenes = _divided(parts, options, name)
    frame = frame_of([s.size for part in scenes.values() for s in part], options.size)
    shape = (3, frame.height, frame.width)
    stacks = {
        split: stacked(part, partial(_image, frame=frame), shape) for split, part in scenes.items()
    }
    mean, std = _moments(stacks["train"])
    splits = {}
    for split, part in scenes.items():
        boxes, labels = [], []
        for scene in part:
            found, numbers = check_boxes(
                scene.boxes, scene.labels, scene.size, classes, f"image {scene.name!r} of {name}"
            )
            boxes.append(torch.from_numpy(found * frame.scale(*scene.size)).float())
            labels.append(torch.from_numpy(numbers))
        if not any(map(len, boxes)):
            raise InputError(f"{name} ({split}) holds no boxes; accepted: at least one")
        splits[split] = BoxSplit(stacks[split], tuple(boxes), tuple(labels), mean, std)
    signature = Signature(shape, len(classes), "detection")
    return _task(name, signature, "validation_map", splits, classes, options, (mean, std))


def assemble_masks(
    name: str, parts: Mapping[str, Sequence[Masked]], classes: Sequence[str], options: Options
) -> DataTask:
    """Return the segmentation task on `parts`; as `assemble_boxes`, with `Masked` images."""
    _require_scene_options(options, name)
    if len(classes) < 2:
        raise InputError(f"{name} has {len(classes)} class(es); accepted: at least 2")
    scenes = _divided(parts, options, name)
    sizes = [head(s.image, s.name) for part in scenes.values() for s in part]
    frame = frame_of(sizes, options.size)
    shape = (frame.height, frame.width)
    read_mask = partial(_mask, frame=frame, classes=tuple(classes))
    stacks = {
        split: (
            stacked(part, partial(_image, frame=frame), (3, *shape)),
            stacked(part, read_mask, shape),
        )
        for split, part in scenes.items()
    }
    for split, (_, masks) in stacks.items():
        each = torch.split(torch.arange(len(masks)), 1)
        if not any(bool((masks[i] != IGNORED).any()) for i in each):
            raise InputError(
                f"{name} ({split}) has no pixel of a class, only ignored ones; accepted: at least "
                "one"
            )
    mean, std = _moments(stacks["train"][0])
    splits = {split: MaskSplit(*pair, mean, std) for split, pair in stacks.items()}
    signature = Signature((3, *shape), len(classes), "segmentation")
    return _task(name, signature, "validation_miou", splits, classes, options, (mean, std))


def head(source: _Source, name: str) -> tuple[int, int]:
    """Return height and width of a coded image without decoding it."""
    try:
        with Image.open(_stream(source)) as picture:
            return picture.height, picture.width
    except Exception as error:  # damaged files fail in many ways, all of them bad input
        raise _unreadable(name, error) from error


def _image(scene: Boxed | Masked, frame: Frame) -> Array:
    try:
        with Image.open(_stream(scene.image)) as picture:
            size, framed = (picture.height, picture.width), frame.image(picture)
    except Exception as error:  # as in `head`
        raise _unreadable(scene.name, error) from error
    if isinstance(scene, Boxed) and size != scene.size:
        raise InputError(
            f"image {scene.name!r} has {pixels(size)} pixels and its boxes are for "
            f"{pixels(scene.size)}; accepted: one size"
        )
    return framed


def _mask(scene: Masked, frame: Frame, classes: tuple[str, ...]) -> Array:
    try:
        with Image.open(_stream(scene.mask)) as picture:
            mode, values = picture.mode, np.asarray(picture)
    except Exception as error:  # as in `head`
        raise _unreadable(f"mask of {scene.name}", error) from error
    if mode not in ("L", "P", "1") and not mode.startswith("I"):
        raise InputError(
            f"mask of image {scene.name!r} is a picture of mode {mode}; accepted: one channel "
            "with a class number for each pixel"
        )
    if values.max(initial=0) > 255 or values.min(initial=0) < 0:
        raise InputError(
            f"mask of image {scene.name!r} has class {int(values.max())}; accepted: 0..255"
        )
    numbers = np.array(scene.classes, dtype=np.uint8)[values.astype(np.uint8)]
    size = head(scene.image, scene.name)
    return frame.mask(check_mask(numbers, size, classes, f"image {scene.name!r}"))


def _stream(source: _Source) -> Any:
    return io.BytesIO(source) if isinstance(source, bytes) else source


def _unreadable(name: str, error: Exception) -> InputError:
    reason = str(error).split("\n")[0] or type(error).__name__
    return InputError(f"image {name!r} is not readable ({reason}); accepted: whole image files")


def _require_scene_options(options: Options, name: str) -> None:
    if options.augmentation == "shift":
        raise InputError(f"augmentation 'shift' does not fit {name!r}; accepted: none, natural")
    if not options.held_out:
        raise InputError(
            f"held_out 0 is for images with one class each; accepted for {name!r}: numbers above 0"
        )


def _divided(parts: Mapping[str, Sequence[_T]], options: Options, name: str) -> dict[str, list[_T]]:
    """Return the splits, what is missing split off by the seed, limited as the options say."""
    held = options.held_out
    found = {split: list(part) for split, part in parts.items() if part}
    if "all" in found:
        shares = {"train": 1 - 2 * held, "validation": held, "test": held}
        found = _drawn(found["all"], shares, options.seed, name)
    elif "train" in found and "validation" not in found:
        halves = {"train": 1 - held, "validation": held}
        found |= _drawn(found["train"], halves, options.seed, name)
    if "train" not in found:
        raise InputError(f"{name} has no training images; accepted: at least one")
    for split in ("train", "validation"):
        part = found[split]
        kept = min(len(part), options.limit or len(part))
        found[split] = [part[i * len(part) // kept] for i in range(kept)]
    return found


def _drawn(
    items: list[_T], shares: Mapping[str, float], seed: int, name: str
) -> dict[str, list[_T]]:
    """Return `items` in splits of these shares, at least one in each; `InputError` for too few."""
    if len(items) < len(shares):
        raise InputError(
            f"{name} has {len(items)} image(s) to split into {', '.join(shares)}; accepted: at "
            f"least {len(shares)}"
        )
    order = np.random.default_rng(seed).permutation(len(items))
    cuts = cuts_of(len(items), list(shares.values()))
    return {
        split: [items[i] for i in np.sort(part).tolist()]
        for split, part in zip(shares, np.split(order, cuts), strict=True)
    }


def _moments(images: Stack) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each channel [3, 1, 1], of pixels 0..1."""
    chosen = torch.linspace(0, len(images) - 1, min(len(images), _FOR_MOMENTS)).long()
    pixels = torch.cat([images[part].float() / 255 for part in torch.split(chosen, 50)])
    std, mean = torch.std_mean(pixels, dim=(0, 2, 3))
    return mean[:, None, None], std.clamp(min=1e-4)[:, None, None]


def _task(
    name: str,
    signature: Signature,
    metric: str,
    splits: Mapping[str, Any],
    classes: Sequence[str],
    options: Options,
    moments: tuple[Tensor, Tensor],
) -> DataTask:
    mean, std = (m.flatten().tolist() for m in moments)
    return DataTask(
        name,
        signature,
        metric,
        train=splits["train"],
        validation=splits["validation"],
        classes=tuple(classes),
        augmentation=options.augmentation or "natural",
        preprocessing={
            "scale": 1 / 255,
            "mean": mean,
            "std": std,
            "size": list(signature.input_shape[1:]),
            "fit": "one factor, top left, black around",
            "mode": "RGB",
        },
        _test=splits.get("test"),
    )
