"""Detection and segmentation sets that lie as files under `TRANSNAS_DATA` (`images/*.npz`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np

from transnas._data import data_folder
from transnas._errors import InputError
from transnas.tasks._base import DataTask
from transnas.tasks._npz import read_arrays
from transnas.tasks._registry import Options, Source, register
from transnas.tasks._split import Array

__all__ = ["load", "names"]

_SPLITS = ("train", "validation", "test")
_FILES = {
    "bccd": "bccd_320.npz", "raccoon": "raccoon_320.npz", "camvid": "camvid_240x180.npz",
}  # fmt: skip


def names() -> Iterable[str]:
    """Return the names of the sets whose files are present."""
    folder = data_folder() / "images"
    return [name for name, file in _FILES.items() if (folder / file).is_file()]


def load(name: str, options: Options) -> DataTask:
    """Return a provided set; raises `InputError` if its file is damaged."""
    path = data_folder() / "images" / _FILES[name]
    read: Callable[..., DataTask] = _segmentation if name == "camvid" else _detection
    try:
        return read(name, read_arrays(path), options, path)
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"file {str(path)!r} lacks or misshapes {error}; accepted: the file as provided"
        ) from error


def _detection(name: str, arrays: Mapping[str, Array], options: Options, path: Path) -> DataTask:
    """Read images, `boxes_xyxy` with `box_label`, and the split that comes with them."""
    from transnas.tasks._assemble_scenes import Boxed, assemble_boxes

    images, offsets = _blobs(arrays, "image"), arrays["box_offsets"].tolist()
    parts: dict[str, list[Boxed]] = {}
    for i, split in enumerate(arrays["split"].tolist()):
        chosen = slice(offsets[i], offsets[i + 1])
        height, width = arrays["size_hw"][i].tolist()
        boxes = arrays["boxes_xyxy"][chosen].astype(np.float64)
        labels = arrays["box_label"][chosen].astype(np.int64)
        scene = Boxed(images[i], (height, width), boxes, labels, str(arrays["image_name"][i]))
        parts.setdefault(_SPLITS[split], []).append(scene)
    return assemble_boxes(name, parts, list(map(str, arrays["class_names"])), options)


def _segmentation(name: str, arrays: Mapping[str, Array], options: Options, path: Path) -> DataTask:
    """Read images and masks; the last class is void, which is ignored."""
    from transnas.tasks._assemble_scenes import Masked, assemble_masks

    classes = list(map(str, arrays["class_names"][:-1]))
    numbers = list(range(256))
    numbers[len(classes)] = 255
    pairs = zip(_blobs(arrays, "image"), _blobs(arrays, "label"), strict=True)
    parts: dict[str, list[Masked]] = {}
    for i, (image, mask) in enumerate(pairs):
        scene = Masked(image, mask, str(arrays["frame"][i]), tuple(numbers))
        parts.setdefault(_SPLITS[int(arrays["split"][i])], []).append(scene)
    return assemble_masks(name, parts, classes, options)


def _blobs(arrays: Mapping[str, Array], kind: str) -> list[bytes]:
    blob, ends = arrays[f"{kind}_blob"], arrays[f"{kind}_offsets"].astype(np.int64).tolist()
    return [blob[a:b].tobytes() for a, b in pairwise(ends)]


register("scenes", Source(names, load))
