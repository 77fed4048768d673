"""The registry of built-in tasks, by name, and what may be chosen when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from transnas._checks import check_whole
from transnas._data import data_folder
from transnas._errors import InputError, unknown
from transnas._paths import require_path
from transnas._registry import Registry
from transnas.tasks._base import Task

__all__ = [
    "Options",
    "Source",
    "get",
    "is_builtin",
    "names",
    "register",
    "written_options",
]

AUGMENTATIONS = ("none", "shift", "natural")


@dataclass(frozen=True)
class Options:
    """How a task's data are read."""

    limit: int | None = None
    """At most this many images a class in the training and the validation split; for detection
    and segmentation: in all, evenly spread; for texts: tokens, from the start."""
    size: int | None = None
    """Images are resized to this many pixels a side (None: 32, or their own if all agree); for
    detection and segmentation: on their longer side (None: at most 320)."""
    held_out: float = 0.2
    """Share of the images that is split off for validation, and for the test, where the data do
    not come with one; 0: none, all are for training, as `adapt --shots` wants them (classification
    only; searches need some)."""
    seed: int = 0
    """Draws the splits that the data do not come with."""
    augmentation: str | None = None
    """`none`, `shift` or `natural`; None: what suits the data."""

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("size", 4), ("seed", 0)):
            value = getattr(self, name)
            if value is not None:
                check_whole(name, value, least)
        if not isinstance(self.held_out, (int, float)) or not 0 <= self.held_out < 0.5:
            raise InputError(
                f"held_out {self.held_out!r} is not accepted; accepted: numbers from 0 to below 0.5"
            )
        if self.augmentation is not None and self.augmentation not in AUGMENTATIONS:
            raise unknown("augmentation", self.augmentation, AUGMENTATIONS)


@dataclass(frozen=True, slots=True)
class Source:
    """A family of built-in tasks: the names it can load now, and how to load one."""

    names: Callable[[], Iterable[str]]
    load: Callable[[str, Options], Task]


_SOURCES: Registry[Source] = Registry("task source", "transnas.tasks", "tasks")


def register(name: str, source: Source) -> None:
    """Enter a family of tasks."""
    _SOURCES.register(name)(source)


def names() -> list[str]:
    """Return the names of all tasks whose data are present."""
    return sorted(name for key in _SOURCES.names() for name in _SOURCES.get(key).names())


def get(name: str, **options: Any) -> Task:
    """Return a task by its built-in name, or from a folder or .npz file at that path.

    `options` are the fields of `Options`; they may stand in the name too, as in
    `camvid:size=120,limit=100`, and are then part of the task's name. Raises `InputError` with
    near misses for a name that is neither, and for data that cannot be used.
    """
    bare, written = written_options(name)
    both = [option for option in written if option in options]
    if both:
        raise InputError(f"task option {both[0]!r} is given twice; accepted: once")
    task = _load(bare, _options({**written, **options}))
    if written:
        task.name = f"{task.name}:{name[len(bare) + 1 :]}"
    return task


def is_builtin(name: str) -> bool:
    """Return whether `name`, with or without options in it, is a built-in task at hand."""
    return written_options(name)[0] in names()


def written_options(name: str) -> tuple[str, dict[str, Any]]:
    """Return a task's name without the options in it, and those; a path may have colons."""
    bare, _, text = name.rpartition(":")
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not bare or not all(equals and key.isidentifier() for key, equals, _ in pairs):
        return name, {}
    if len({key for key, *_ in pairs}) < len(pairs):
        raise InputError(f"task {name!r} gives an option twice; accepted: once")
    return bare, {key: _value(text) for key, _, text in pairs}


def _value(text: str) -> int | float | str:
    """Return the number that a text is, or the text."""
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def _load(name: str, chosen: Options) -> Task:
    for key in _SOURCES.names():
        source = _SOURCES.get(key)
        if name in source.names():
            return source.load(name, chosen)
    path = Path(name).expanduser()
    require_path("task", name, path)
    if name and path.exists():
        from transnas.tasks.files import from_path

        return from_path(path, chosen)
    if path.suffix == ".npz" or path.is_absolute() or name.startswith((".", "~")):
        raise InputError(
            f"task {name!r} does not exist; accepted: a folder of images in class folders, "
            "a .npz file, or a built-in name"
        )
    here = "a folder or .npz file, or a data set"
    raise unknown("task", name, [*names(), f"{here} under TRANSNAS_DATA (now {data_folder()})"])


def _options(given: dict[str, Any]) -> Options:
    known = [f.name for f in fields(Options)]
    for name in given:
        if name not in known:
            raise unknown("task option", name, known)
    return Options(**given)
