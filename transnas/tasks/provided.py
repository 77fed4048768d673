"""Image classification sets that lie as files under `TRANSNAS_DATA` (`images/*.npz`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from transnas._data import data_folder
from transnas._errors import InputError
from transnas.tasks._assemble import Part, assemble
from transnas.tasks._base import DataTask
from transnas.tasks._mosaics import tiles
from transnas.tasks._npz import read_arrays
from transnas.tasks._registry import Options, Source, register
from transnas.tasks._split import Array

__all__ = ["load", "names", "read"]

_Arrays = Mapping[str, Array]
_Read = Callable[[_Arrays, str], tuple[dict[str, Part], tuple[str, ...]]]


@dataclass(frozen=True)
class _Entry:
    """One file: how it is read, and which augmentation suits it."""

    file: str
    read: _Read
    augmentation: str


def _grey(arrays: _Arrays, name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Read `images` [N, H, W], `label`, `is_test`, and maybe `class_names`."""
    images, labels, test = arrays["images"][:, None], arrays["label"], arrays["is_test"] != 0
    classes = arrays.get("class_names", np.arange(int(labels.max()) + 1))
    parts = {"train": Part(images[~test], labels[~test]), "test": Part(images[test], labels[test])}
    return parts, tuple(map(str, classes.tolist()))


def _letters(arrays: _Arrays, name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Read notMNIST, whose labels 0..9 are the letters A..J."""
    return _grey(arrays, name)[0], tuple("ABCDEFGHIJ")


def _omniglot(arrays: _Arrays, name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Read all characters as classes; 20 drawings each, no split of their own."""
    alphabets = arrays["alphabet_name"][arrays["class_alphabet"].astype(np.int64)]
    classes = tuple(
        f"{alphabet}/{character}"
        for alphabet, character in zip(alphabets, arrays["class_name"], strict=True)
    )
    return {"all": Part(arrays["images"][:, None], arrays["class_id"])}, classes


def _tiled(arrays: _Arrays, name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Read mosaics of 32x32 tiles, each of one class and one split."""
    found = tiles(arrays, 32, 32, name)
    labels = np.repeat(arrays["mosaic_label"], [len(images) for images in found])
    test = np.repeat(arrays["mosaic_is_test"] != 0, [len(images) for images in found])
    images = np.concatenate(found)
    classes = arrays.get("fine_names", arrays.get("class_names", np.unique(labels)))
    parts = {"train": Part(images[~test], labels[~test]), "test": Part(images[test], labels[test])}
    return parts, tuple(map(str, classes.tolist()))


def _textures(arrays: _Arrays, name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Read DTD: mosaics of 64x64 tiles; every fourth image of a class is a test image."""
    found = tiles(arrays, 64, 64, name)
    test = np.tile(arrays["is_test_in_mosaic"] != 0, len(found))
    labels = np.repeat(arrays["mosaic_label"], [len(images) for images in found])
    images = np.concatenate(found)
    parts = {"train": Part(images[~test], labels[~test]), "test": Part(images[test], labels[test])}
    return parts, tuple(map(str, arrays["class_names"].tolist()))


def _mini_imagenet(arrays: _Arrays, name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Read the 100 classes of 84x84 images (tiles of 88); no split within classes."""
    found = tiles(arrays, 88, 84, name)
    labels = np.repeat(np.arange(len(found)), [len(images) for images in found])
    parts = {"all": Part(np.concatenate(found), labels)}
    return parts, tuple(map(str, arrays["class_wnid"].tolist()))


_ENTRIES = {
    "cifar10": _Entry("cifar10_jpeg90.npz", _tiled, "natural"),
    "cifar100": _Entry("cifar100_jpeg90.npz", _tiled, "natural"),
    "dtd10": _Entry("dtd10_64x64.npz", _textures, "natural"),
    "fashion-mnist": _Entry("fashion_mnist_28x28_5000.npz", _grey, "natural"),
    "gtsrb": _Entry("gtsrb_32.npz", _tiled, "shift"),
    "mini-imagenet": _Entry("mini_imagenet_84_120pc.npz", _mini_imagenet, "natural"),
    "mnist": _Entry("mnist_28x28_5000.npz", _grey, "shift"),
    "notmnist": _Entry("notmnist_28x28_5000.npz", _letters, "shift"),
    "omniglot": _Entry("omniglot_28x28.npz", _omniglot, "shift"),
    "usps": _Entry("usps_16x16.npz", _grey, "shift"),
}


def names() -> Iterable[str]:
    """Return the names of the sets whose files are present."""
    folder = data_folder() / "images"
    return [name for name, entry in _ENTRIES.items() if (folder / entry.file).is_file()]


def load(name: str, options: Options) -> DataTask:
    """Return a provided set; raises `InputError` if its file is damaged."""
    if options.size is not None:
        raise InputError(
            f"size {options.size} is for folders of images; accepted for {name!r}: none"
        )
    parts, classes, _ = read(name)
    return assemble(name, parts, classes, options, _ENTRIES[name].augmentation)


def read(name: str) -> tuple[dict[str, Part], tuple[str, ...], _Arrays]:
    """Return a provided set's parts, its classes, and the arrays of its file."""
    entry = _ENTRIES[name]
    path = data_folder() / "images" / entry.file
    try:
        arrays = read_arrays(path)
        return *entry.read(arrays, str(path)), arrays
    except (KeyError, IndexError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"file {str(path)!r} lacks or misshapes {error}; accepted: the file as provided"
        ) from error


register("provided", Source(names, load))
