"""Segmentation tasks from folders: Cityscapes, or images beside masks of the same names."""

from __future__ import annotations

from pathlib import Path

from transnas._errors import InputError
from transnas.tasks._assemble_scenes import Masked, assemble_masks
from transnas.tasks._base import DataTask
from transnas.tasks._folder import SPLITS, SUFFIXES
from transnas.tasks._registry import Options
from transnas.tasks._scenes import IGNORED
from transnas.tasks._text import read_text

__all__ = ["is_masks", "mask_task"]

_ACCEPTED = (
    "accepted: images/ and masks/ (or train/images, train/masks, ...) with the same file names, "
    "and classes.txt; or Cityscapes' leftImg8bit/ and gtFine/"
)
_CITYSCAPES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17,
    "traffic light": 19, "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23,
    "person": 24, "rider": 25, "car": 26, "truck": 27, "bus": 28, "train": 31, "motorcycle": 32,
    "bicycle": 33,
}  # fmt: skip
"""The 19 classes that Cityscapes evaluates, and their ids in `*_labelIds.png`; the rest is void."""


def is_masks(path: Path) -> bool:
    """Return whether the folder has masks in one of the two layouts."""
    return (path / "gtFine").is_dir() or any(_pairs(path))


def mask_task(path: Path, options: Options) -> DataTask:
    """Return the task in the folder at `path`; its name is the folder's.

    Masks have one channel with the number of a class in each pixel, 255 where it is ignored;
    `classes.txt` names the classes, one a line. Without split folders the images are split
    60 / 20 / 20, and a missing validation split is a fifth of the training images. Of Cityscapes
    the fine annotations are read, train and val; its public test masks are empty and left out.
    """
    name = path.resolve().name
    if (path / "gtFine").is_dir():
        return assemble_masks(name, _cityscapes(path), list(_CITYSCAPES), options)
    parts: dict[str, list[Masked]] = {}
    for split, images, masks in _pairs(path):
        if split in parts:
            raise InputError(f"folder {str(path)!r} has two folders for {split}; {_ACCEPTED}")
        parts[split] = _matched(images, masks)
    if "all" in parts and len(parts) > 1:
        raise InputError(f"folder {str(path)!r} mixes splits and images beside them; {_ACCEPTED}")
    return assemble_masks(name, parts, _classes(path), options)


def _pairs(path: Path) -> list[tuple[str, Path, Path]]:
    """Return (split, folder of images, folder of masks); the split is `all` without folders."""
    folders = [("all", path)]
    folders += [(SPLITS[p.name.lower()], p) for p in sorted(path.iterdir())
                if p.is_dir() and p.name.lower() in SPLITS]  # fmt: skip
    return [
        (split, folder / "images", folder / "masks")
        for split, folder in folders
        if (folder / "images").is_dir() and (folder / "masks").is_dir()
    ]


def _matched(images: Path, masks: Path) -> list[Masked]:
    by_stem = {mask.stem: mask for mask in _pictures(masks)}
    found = []
    for image in _pictures(images):
        if image.stem not in by_stem:
            raise InputError(
                f"image {str(image)!r} has no mask of its name in {str(masks)!r}; {_ACCEPTED}"
            )
        found.append(Masked(image, by_stem[image.stem], image.name))
    if not found:
        raise InputError(f"folder {str(images)!r} holds no images; {_ACCEPTED}")
    return found


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")
    )


def _classes(path: Path) -> list[str]:
    file = path / "classes.txt"
    if not file.is_file():
        raise InputError(f"folder {str(path)!r} has no classes.txt, one name a line; {_ACCEPTED}")
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def _cityscapes(path: Path) -> dict[str, list[Masked]]:
    numbers = [IGNORED] * 256
    for label, number in enumerate(_CITYSCAPES.values()):
        numbers[number] = label
    parts: dict[str, list[Masked]] = {}
    for folder, split in (("train", "train"), ("val", "validation")):
        for mask in sorted((path / "gtFine" / folder).glob("*/*_gtFine_labelIds.png")):
            stem = mask.name.removesuffix("_gtFine_labelIds.png")
            image = path / "leftImg8bit" / folder / mask.parent.name / f"{stem}_leftImg8bit.png"
            if not image.is_file():
                raise InputError(f"image {str(image)!r} is missing; {_ACCEPTED}")
            parts.setdefault(split, []).append(Masked(image, mask, image.name, tuple(numbers)))
    return parts
