"""A detection task from a folder in COCO's format: images beside JSON files of instances."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from transnas._errors import InputError
from transnas.tasks._assemble_scenes import Boxed, assemble_boxes
from transnas.tasks._base import DataTask
from transnas.tasks._registry import Options

__all__ = ["coco_task", "is_coco"]

_ACCEPTED = (
    "accepted: COCO's annotations/instances_train*.json (val, test) or one instances*.json, with "
    "the images in folders beside"
)
_SPLITS = {"train": "train", "val": "validation", "test": "test"}


def is_coco(path: Path) -> bool:
    """Return whether the folder has JSON files of instances."""
    return bool(_files(path))


def coco_task(path: Path, options: Options) -> DataTask:
    """Return the task in the folder at `path`; its name is the folder's.

    `instances_train*.json`, `instances_val*.json` and `instances_test*.json` are the splits; one
    file alone is split 60 / 20 / 20, and a missing validation split is a fifth of the training
    images. Crowds are left out, and boxes without area. Classes are the categories, by id. No image
    may be in two splits.
    """
    parts: dict[str, list[Boxed]] = {}
    categories: dict[int, str] | None = None
    for file in _files(path):
        data = _read(file)
        found = {int(c["id"]): str(c["name"]) for c in data["categories"]}
        if categories not in (None, found):
            raise InputError(
                f"categories of {str(file)!r} differ from those of the other files; accepted: the "
                "same in each"
            )
        categories = found
        split = next((s for key, s in _SPLITS.items() if f"_{key}" in file.stem), "all")
        parts.setdefault(split, []).extend(_scenes(path, file, data, sorted(found)))
    if "all" in parts and len(parts) > 1:
        raise InputError(f"folder {str(path)!r} mixes named and unnamed splits; {_ACCEPTED}")
    names = [name for _, name in sorted((categories or {}).items())]
    if not names:
        raise InputError(f"folder {str(path)!r} names no categories; {_ACCEPTED}")
    _require_apart(parts)
    return assemble_boxes(path.resolve().name, parts, names, options)


def _require_apart(parts: Mapping[str, list[Boxed]]) -> None:
    owner: dict[Any, str] = {}
    for split, scenes in parts.items():
        for scene in scenes:
            if owner.setdefault(scene.image, split) != split:
                raise InputError(
                    f"image {scene.name!r} is in the splits {owner[scene.image]} and {split}; "
                    "accepted: every image in one split"
                )


def _files(path: Path) -> list[Path]:
    return sorted([*path.glob("annotations/instances*.json"), *path.glob("instances*.json")])


def _read(file: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        for key in ("images", "annotations", "categories"):
            if not isinstance(data[key], list):
                raise TypeError(f"{key} is no list")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"file {str(file)!r} is not readable ({error}); {_ACCEPTED}") from error
    return dict(data)


def _scenes(path: Path, file: Path, data: Mapping[str, Any], ids: list[int]) -> list[Boxed]:
    try:
        boxes: dict[int, list[tuple[list[float], int]]] = {int(i["id"]): [] for i in data["images"]}
        for entry in data["annotations"]:
            if entry.get("iscrowd", 0):
                continue
            x, y, width, height = map(float, entry["bbox"])
            label = ids.index(int(entry["category_id"]))
            boxes[int(entry["image_id"])].append(([x, y, x + width, y + height], label))
        return [
            Boxed(
                _image(path, str(i["file_name"]), file),
                (int(i["height"]), int(i["width"])),
                np.array([b for b, _ in boxes[int(i["id"])]], dtype=np.float64).reshape(-1, 4),
                np.array([label for _, label in boxes[int(i["id"])]], dtype=np.int64),
                str(i["file_name"]),
            )
            for i in data["images"]
        ]
    except (KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"file {str(file)!r} has an entry that lacks or misuses {error}; {_ACCEPTED}"
        ) from error


def _image(path: Path, name: str, file: Path) -> Path:
    split = file.stem.removeprefix("instances_")
    for folder in (path / split, path / "images" / split, path / "images", path):
        if (folder / name).is_file():
            return folder / name
    raise InputError(f"image {name!r} of {str(file)!r} is missing; {_ACCEPTED}")
