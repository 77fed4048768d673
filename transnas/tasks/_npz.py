"""A task from a .npz file: arrays of images and labels, read without pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from transnas._errors import InputError
from transnas.tasks._assemble import Part, assemble
from transnas.tasks._base import DataTask
from transnas.tasks._registry import Options
from transnas.tasks._split import Array

__all__ = ["npz_task", "read_arrays"]

_IMAGES, _LABELS = ("x", "images", "X", "data"), ("y", "labels", "label", "Y", "targets")
_SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_NUMBERED = ("train", "validation", "test")
_ACCEPTED = (
    "accepted: x [N, H, W], [N, H, W, C] or [N, C, H, W] and y [N] (also named images and labels),"
    " with an optional split or is_test [N]; or x_train, y_train, x_test, y_test, ..."
)


def read_arrays(path: Path) -> dict[str, Array]:
    """Return every array of a .npz file; raises `InputError` if one cannot be read."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:  # a damaged archive fails in a dozen ways, all of them bad input
        reason = str(error).split("\n")[0] or type(error).__name__
        if "allow_pickle" in reason:
            reason = "it holds pickled objects, which are never read"
        raise InputError(
            f"file {str(path)!r} is not readable ({reason}); accepted: a .npz of plain arrays"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # numpy returns the bytes of members it cannot read
            raise InputError(
                f"file {str(path)!r} has a member {name!r} that is no array; accepted: a .npz of "
                "plain arrays"
            )
    return arrays


def npz_task(path: Path, options: Options) -> DataTask:
    """Return the task in the file at `path`; its name is the file's.

    Class names come from `class_names`, from labels that are text, or are the numbers.
    """
    arrays = read_arrays(path)
    parts = _separate(arrays) or _together(arrays, path)
    parts, classes = _named(parts, arrays, path)
    shaped = {s: Part(_channels_first(p.images, path), p.labels) for s, p in parts.items()}
    color = next(iter(shaped.values())).images.shape[1] == 3
    return assemble(path.stem, shaped, classes, options, "natural" if color else "shift")


def _separate(arrays: Mapping[str, Array]) -> dict[str, Part]:
    """Return the parts of a file with one pair of arrays a split; {} if it is not one."""
    parts: dict[str, Part] = {}
    for word, split in _SPLITS.items():
        for x in _IMAGES:
            for y in _LABELS:
                if f"{x}_{word}" in arrays and f"{y}_{word}" in arrays:
                    parts[split] = Part(arrays[f"{x}_{word}"], arrays[f"{y}_{word}"])
    return parts if "train" in parts else {}


def _together(arrays: Mapping[str, Array], path: Path) -> dict[str, Part]:
    images = next((arrays[name] for name in _IMAGES if name in arrays), None)
    labels = next((arrays[name] for name in _LABELS if name in arrays), None)
    if images is None or labels is None:
        raise InputError(f"file {str(path)!r} has arrays {sorted(arrays)}; {_ACCEPTED}")
    if images.ndim == 0 or labels.ndim != 1 or len(images) != len(labels):
        raise InputError(
            f"file {str(path)!r} has images of shape {images.shape} and labels of shape "
            f"{labels.shape}; {_ACCEPTED}"
        )
    whole = Part(images, labels)
    if "split" not in arrays and "is_test" not in arrays:
        return {"all": whole}
    splits = _split_words(arrays, len(labels), path)
    return {word: whole.at(np.flatnonzero(splits == word)) for word in _NUMBERED if word in splits}


def _split_words(arrays: Mapping[str, Array], count: int, path: Path) -> Array:
    """Return `train`, `validation` or `test` for each image."""
    given = arrays["split"] if "split" in arrays else 2 * (arrays["is_test"] != 0).astype(int)
    if given.shape != (count,):
        raise InputError(
            f"split of file {str(path)!r} has shape {given.shape}; accepted: one an image"
        )
    known = dict(enumerate(_NUMBERED)) | _SPLITS
    words = []
    for value in given.tolist():
        key = value.lower() if isinstance(value, str) else value
        if key not in known:
            raise InputError(
                f"split of file {str(path)!r} holds {value!r}; accepted: train, validation, test "
                "(or 0, 1, 2)"
            )
        words.append(known[key])
    return np.array(words)


def _named(
    parts: dict[str, Part], arrays: Mapping[str, Array], path: Path
) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Return the parts with labels as numbers, and the names of the classes."""
    if any(part.labels.dtype.kind in "US" for part in parts.values()):
        texts = np.unique(np.concatenate([part.labels.astype(str) for part in parts.values()]))
        numbered = {
            split: Part(part.images, np.searchsorted(texts, part.labels.astype(str)))
            for split, part in parts.items()
        }
        return numbered, tuple(texts.tolist())
    if "class_names" in arrays:
        return parts, tuple(map(str, arrays["class_names"].ravel().tolist()))
    tops = [part.labels.max() for part in parts.values() if _whole(part.labels)]
    count = int(max(tops, default=0)) + 1
    if count > 1 + sum(len(part.labels) for part in parts.values()):
        raise InputError(
            f"labels of file {str(path)!r} reach {count - 1}, more than there are images; "
            "accepted: 0, 1, ... without gaps"
        )
    return parts, tuple(map(str, range(count)))


def _whole(labels: Array) -> bool:
    return labels.size > 0 and labels.dtype.kind in "uif" and bool(np.isfinite(labels).all())


def _channels_first(images: Array, path: Path) -> Array:
    """Return images as [N, C, H, W]; 1 to 4 channels are recognised on either side."""
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and images.shape[1] <= 4:
        return images
    if images.ndim == 4 and images.shape[3] <= 4:
        return np.moveaxis(images, 3, 1)
    raise InputError(
        f"images of file {str(path)!r} have shape {images.shape}; accepted: [N, H, W], "
        "[N, H, W, C] or [N, C, H, W] with up to 4 channels"
    )
