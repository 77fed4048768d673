"""Sources of episodes by name, or from a folder of class folders.

`omniglot` (by alphabets), `omniglot-characters` (the split of MAML), `fc100` and `cifar-fs` (from
CIFAR-100), `mini-imagenet`, `digits`; any folder whose folders are classes, or that holds `train`,
`validation` and `test` folders of different classes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import numpy as np

from transnas._errors import InputError, unknown
from transnas._paths import require_path
from transnas.tasks import _class_splits as splits
from transnas.tasks._assemble import Part
from transnas.tasks._folder import class_images
from transnas.tasks._registry import Options, written_options
from transnas.tasks.episodes import EpisodeSource

__all__ = ["get_source", "source_names"]

_MINI_SPLITS = ("train", "validation", "test")
_DIGIT_SPLITS = {"train": (0, 1, 2, 3), "validation": (4, 5, 6), "test": (7, 8, 9)}
_Build = Callable[[str, int], EpisodeSource]


def source_names() -> list[str]:
    """Return the names of the sources whose data are present."""
    from transnas.tasks import provided, vision

    present = {*provided.names(), *vision.names(), "digits"}
    return sorted(name for name, (needs, _) in _SOURCES.items() if present & set(needs))


def get_source(name: str, seed: int = 0, size: int | None = None) -> EpisodeSource:
    """Return a source of episodes by its name, or from the folder at that path.

    `seed` draws the episodes, and class splits that are not published; images of a folder are
    brought to `size` pixels a side, which may stand in the name too, as in `birds:size=84` (None:
    as `folder_task` does, if all are of one size). Raises `InputError` for data that are absent or
    unusable.
    """
    name, written = written_options(name)
    for option in written:
        if option != "size":
            raise unknown("option of a source of episodes", option, ["size"])
        if size is not None:
            raise InputError("option 'size' is given twice; accepted: once")
    size = Options(size=written.get("size", size)).size
    if name in _SOURCES:
        if size is not None:
            raise InputError(f"size {size} is for folders of images; accepted for {name!r}: none")
        if name not in source_names():
            raise InputError(
                f"data of {name!r} are not present; accepted: one of {', '.join(source_names())}, "
                "or a folder of class folders"
            )
        return _SOURCES[name][1](name, seed)
    path = Path(name).expanduser()
    require_path("source of episodes", name, path)
    if name and path.is_dir():
        return _folder(path, seed, size)
    raise unknown("source of episodes", name, [*source_names(), "a folder of class folders"])


def _source(
    name: str,
    parts: Mapping[str, Part],
    classes: tuple[str, ...],
    chosen: Mapping[str, tuple[int, ...]],
    seed: int,
    rotated: Collection[str] = (),
    scale: float = 255.0,
) -> EpisodeSource:
    """Return the source of all images of a data set, whatever its own splits are."""
    import torch

    images = np.ascontiguousarray(np.concatenate([part.images for part in parts.values()]))
    labels = np.concatenate([part.numbers for part in parts.values()])
    return EpisodeSource(
        name,
        torch.from_numpy(images),
        torch.from_numpy(labels),
        classes,
        chosen,
        seed,
        rotated,
        scale,
    )


def _omniglot(name: str, seed: int) -> EpisodeSource:
    """Rotations enlarge meta-training only, where test characters come from other alphabets."""
    from transnas.tasks.provided import read

    parts, classes, arrays = read("omniglot")
    alphabets = [c.split("/")[0] for c in classes]
    chosen = splits.by_alphabet(alphabets, arrays["class_is_background"])
    return _source(name, parts, classes, chosen, seed, rotated=("train",))


def _omniglot_characters(name: str, seed: int) -> EpisodeSource:
    """Rotations in every split, as in the published code of MAML."""
    from transnas.tasks.provided import read

    parts, classes, _ = read("omniglot")
    chosen = splits.by_character(len(classes), seed=0)
    return _source(name, parts, classes, chosen, seed, rotated=_MINI_SPLITS)


def _cifar(name: str, seed: int) -> EpisodeSource:
    """All 600 images of each class of CIFAR-100."""
    from transnas.tasks import provided, vision

    if "cifar100" in provided.names():
        parts, classes, _ = provided.read("cifar100")
    else:
        parts, classes = vision.read("torchvision/cifar100")
    chosen = splits.fc100(classes) if name == "fc100" else splits.cifar_fs(classes)
    return _source(name, parts, classes, chosen, seed)


def _mini_imagenet(name: str, seed: int) -> EpisodeSource:
    from transnas.tasks.provided import read

    parts, classes, arrays = read("mini-imagenet")
    owner = arrays["class_split"].astype(np.int64)
    chosen = {s: tuple(np.flatnonzero(owner == i).tolist()) for i, s in enumerate(_MINI_SPLITS)}
    return _source(name, parts, classes, chosen, seed)


def _digits(name: str, seed: int) -> EpisodeSource:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    parts = {"all": Part(pixels.reshape(-1, 1, 8, 8).astype(np.uint8), labels)}
    classes = tuple(str(digit) for digit in range(10))
    return _source(name, parts, classes, _DIGIT_SPLITS, seed, scale=16.0)


def _folder(path: Path, seed: int, size: int | None) -> EpisodeSource:
    listed, images, labels = class_images(path, size)
    classes = tuple(name for names in listed.values() for name in names)
    if set(listed) == {"all"}:
        chosen = splits.by_share(len(classes), seed)
    else:
        chosen, start = {}, 0
        for split, names in listed.items():
            chosen[split] = tuple(range(start, start + len(names)))
            start += len(names)
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise InputError(
                f"class {twice[0]!r} is in two splits of folder {str(path)!r}; "
                "accepted: every class in one split"
            )
    return _source(path.resolve().name, {"all": Part(images, labels)}, classes, chosen, seed)


_CIFAR = ("cifar100", "torchvision/cifar100")
_SOURCES: dict[str, tuple[tuple[str, ...], _Build]] = {
    "cifar-fs": (_CIFAR, _cifar),
    "digits": (("digits",), _digits),
    "fc100": (_CIFAR, _cifar),
    "mini-imagenet": (("mini-imagenet",), _mini_imagenet),
    "omniglot": (("omniglot",), _omniglot),
    "omniglot-characters": (("omniglot",), _omniglot_characters),
}
"""Name -> data sets of which one must be present, and what builds the source."""
