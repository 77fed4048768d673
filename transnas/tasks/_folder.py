"""A task from a folder of images in class folders."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from transnas._errors import InputError
from transnas.tasks._assemble import Part, assemble
from transnas.tasks._base import DataTask
from transnas.tasks._registry import Options
from transnas.tasks._split import Array

__all__ = ["SPLITS", "SUFFIXES", "class_images", "folder_task"]

SUFFIXES = {
    ".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
}  # fmt: skip
SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "val": "validation", "valid": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_DEFAULT_SIZE = 32
_LARGEST_KEPT = 64
_ACCEPTED = "accepted: class folders of images, or train, validation and test folders of those"


def folder_task(path: Path, options: Options) -> DataTask:
    """Return the task in the folder at `path`; its name is the folder's.

    The folder holds one folder a class, or `train` with any of `validation` and `test` (also
    `val`, `valid`), each holding the class folders; what is missing is split off. Images are
    brought to one square size (`options.size`; by default their own if all agree and it is at
    most 64, else 32): scaled to cover the square, the overhang cut off evenly. One colour image
    makes the task a colour task. Classes are sorted by name. Raises `InputError`, naming the
    file, for an image that cannot be read to its end.
    """
    listed = _listing(path)
    classes = sorted({name for files in listed.values() for name in files})
    if "train" in listed:
        _same_classes(listed, path)
    if len(classes) < 2:
        raise InputError(f"folder {str(path)!r} has {len(classes)} class(es); {_ACCEPTED}")
    files = [file for by_class in listed.values() for group in by_class.values() for file in group]
    images = _decode(files, options.size)
    parts, start = {}, 0
    for split, by_class in listed.items():
        labels = np.repeat(
            [classes.index(name) for name in by_class], [len(g) for g in by_class.values()]
        )
        parts[split] = Part(images[start : start + len(labels)], labels)
        start += len(labels)
    color = images.shape[1] == 3
    return assemble(
        path.resolve().name,
        parts,
        classes,
        options,
        "natural" if color else "shift",
        size=images.shape[2:],
        mode="RGB" if color else "L",
    )


def class_images(path: Path, size: int | None) -> tuple[dict[str, list[str]], Array, Array]:
    """Return split -> classes of the folder at `path`, all images uint8 [N, C, S, S], and labels.

    The only split is `all` where there are no split folders; labels count classes through the
    splits in order. Raises `InputError` for images of mixed sizes if `size` is None.
    """
    listed = _listing(path)
    groups = [files for by_class in listed.values() for files in by_class.values()]
    files = [file for group in groups for file in group]
    if size is None:
        _same_size(files)
    images = _decode(files, size)
    labels = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    return {split: list(by_class) for split, by_class in listed.items()}, images, labels


def _same_size(files: Sequence[Path]) -> None:
    sizes = {file: _head(file)[1] for file in files}
    first = next(iter(sizes))
    for file, found in sizes.items():
        if found != sizes[first]:
            raise InputError(
                f"image {str(file)!r} has {found[0]}x{found[1]} pixels and {first.name!r} has "
                f"{sizes[first][0]}x{sizes[first][1]}; accepted: images of one size, or a size to "
                "bring them to, as in FOLDER:size=84"
            )


def _listing(path: Path) -> dict[str, dict[str, list[Path]]]:
    """Return split -> class -> files; the only split is `all` where there are no split folders."""
    folders = _folders(path)
    if not folders:
        raise InputError(f"folder {str(path)!r} holds no folders; {_ACCEPTED}")
    splits = [SPLITS.get(folder.name.lower()) for folder in folders]
    if "train" not in splits:
        return {"all": _classes(path)}
    if None in splits or len(set(splits)) < len(splits):
        names = ", ".join(folder.name for folder in folders)
        raise InputError(f"folder {str(path)!r} holds {names}; {_ACCEPTED}")
    return {str(s): _classes(folder) for s, folder in zip(splits, folders, strict=True)}


def _classes(path: Path) -> dict[str, list[Path]]:
    found = {}
    for folder in _folders(path):
        files = sorted(
            p
            for p in folder.rglob("*")
            if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
        )
        if not files:
            raise InputError(
                f"class folder {str(folder)!r} holds no images; "
                f"accepted: {' '.join(sorted(SUFFIXES))}"
            )
        found[folder.name] = files
    if not found:
        raise InputError(f"folder {str(path)!r} holds no class folders; {_ACCEPTED}")
    return found


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _same_classes(listed: dict[str, dict[str, list[Path]]], path: Path) -> None:
    for split, by_class in listed.items():
        extra = sorted(set(by_class) - set(listed["train"]))
        if extra:
            raise InputError(
                f"class {extra[0]!r} is in the {split} folder of {str(path)!r} and not in train; "
                f"accepted: {', '.join(listed['train'])}"
            )


def _decode(files: Sequence[Path], size: int | None) -> Array:
    """Return the images as uint8 [N, C, side, side], C = 3 if any is in colour."""
    with ThreadPoolExecutor() as pool:  # Pillow decodes outside Python's lock
        heads = list(pool.map(_head, files))
        color = any(mode == "RGB" for mode, _ in heads)
        side = size or _side([dimensions for _, dimensions in heads])
        mode = "RGB" if color else "L"
        images = list(pool.map(lambda file: _read(file, side, mode), files))
    stacked = np.stack(images)
    return stacked.transpose(0, 3, 1, 2) if color else stacked[:, None]


def _side(sizes: Sequence[tuple[int, int]]) -> int:
    distinct = Counter(sizes)
    width, height = next(iter(distinct))
    if len(distinct) == 1 and width == height <= _LARGEST_KEPT:
        return width
    return _DEFAULT_SIZE


def _head(file: Path) -> tuple[str, tuple[int, int]]:
    """Return whether an image is grey (`L`) or in colour (`RGB`), and its width and height."""
    try:
        with Image.open(file) as image:
            grey = image.mode in ("1", "L", "LA", "I", "F") or image.mode.startswith("I;16")
            return "L" if grey else "RGB", image.size
    except Exception as error:  # damaged files fail in many ways, all of them bad input
        raise _unreadable(file, error) from error


def _read(file: Path, side: int, mode: str) -> Array:
    """Return one image, uint8 [side, side] or [side, side, 3]."""
    try:
        with Image.open(file) as image:
            image.load()
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I") or image.mode == "F":
                image = _eight_bits(image)
            fitted = ImageOps.fit(image.convert(mode), (side, side), Image.Resampling.BILINEAR)
            return np.asarray(fitted, dtype=np.uint8)
    except Exception as error:  # as in `_head`
        raise _unreadable(file, error) from error


def _eight_bits(image: Image.Image) -> Image.Image:
    """Return a grey image of 16 bits or more with its full range in 8 bits."""
    values = np.asarray(image, dtype=np.float64)
    top = 65535.0 if image.mode.startswith("I") else max(float(values.max()), 1e-12)
    return Image.fromarray((np.clip(values / top, 0, 1) * 255).astype(np.uint8))


def _unreadable(file: Path, error: Exception) -> InputError:
    reason = str(error).split("\n")[0].replace(f" file '{file}'", " file") or type(error).__name__
    return InputError(
        f"image {str(file)!r} is not readable ({reason}); accepted: whole image files"
    )
