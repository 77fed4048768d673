"""torchvision's data sets, where their files lie under `TRANSNAS_DATA/torchvision`.

Nothing is downloaded. The CIFAR archives are read by torchvision after it has compared their
checksums with the published ones.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from transnas._data import data_folder
from transnas._errors import InputError
from transnas.tasks._assemble import Part, assemble
from transnas.tasks._base import DataTask
from transnas.tasks._registry import Options, Source, register
from transnas.tasks._split import Array

__all__ = ["load", "names", "read"]


@dataclass(frozen=True)
class _Entry:
    """A class of `torchvision.datasets`, the folder it reads, and what suits its images."""

    dataset: str
    folder: str
    augmentation: str


_ENTRIES = {
    "torchvision/cifar10": _Entry("CIFAR10", "cifar-10-batches-py", "natural"),
    "torchvision/cifar100": _Entry("CIFAR100", "cifar-100-python", "natural"),
    "torchvision/mnist": _Entry("MNIST", "MNIST/raw", "shift"),
    "torchvision/fashion-mnist": _Entry("FashionMNIST", "FashionMNIST/raw", "natural"),
    "torchvision/kmnist": _Entry("KMNIST", "KMNIST/raw", "shift"),
}


def names() -> Iterable[str]:
    """Return the names of the sets whose folders are present."""
    root = data_folder() / "torchvision"
    return [name for name, entry in _ENTRIES.items() if (root / entry.folder).is_dir()]


def load(name: str, options: Options) -> DataTask:
    """Return a torchvision set with its official test split; a fifth of train validates."""
    if options.size is not None:
        raise InputError(
            f"size {options.size} is for folders of images; accepted for {name!r}: none"
        )
    parts, classes = read(name)
    return assemble(name, parts, classes, options, _ENTRIES[name].augmentation)


def read(name: str) -> tuple[dict[str, Part], tuple[str, ...]]:
    """Return a set's training and test parts and its classes."""
    import torchvision

    entry, root = _ENTRIES[name], data_folder() / "torchvision"
    kind = getattr(torchvision.datasets, entry.dataset)
    try:
        found = {"train": kind(str(root), train=True), "test": kind(str(root), train=False)}
    except Exception as error:  # torchvision says missing and damaged in many ways
        raise InputError(
            f"task {name!r} is not readable in {str(root / entry.folder)!r} "
            f"({str(error).splitlines()[0] if str(error) else type(error).__name__}); "
            "accepted: the published files, undamaged"
        ) from error
    parts = {split: Part(_images(data), np.asarray(data.targets)) for split, data in found.items()}
    return parts, tuple(found["train"].classes)


def _images(data: Any) -> Array:
    """Return uint8 [N, C, H, W] from [N, H, W, 3] or [N, H, W]."""
    images = np.asarray(data.data)
    return images[:, None] if images.ndim == 3 else images.transpose(0, 3, 1, 2)


register("vision", Source(names, load))
