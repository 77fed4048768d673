"""The registry of built-in tasks, by name, and what may be chosen when one is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from transnas._data import data_folder
from transnas._errors import InputError, unknown
from transnas._registry import Registry
from transnas.tasks._base import Task

__all__ = ["Options", "Source", "get", "names", "register"]

AUGMENTATIONS = ("none", "shift", "natural")


@dataclass(frozen=True)
class Options:
    """How a task's data are read."""

    limit: int | None = None
    """At most this many images a class in the training and the validation split."""
    size: int | None = None
    """Images are resized to this many pixels a side; None: 32, or their own if all agree."""
    seed: int = 0
    """Draws the splits that the data do not come with."""
    augmentation: str | None = None
    """`none`, `shift` or `natural`; None: what suits the data."""

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("size", 4), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < least):
                raise InputError(f"{name} {value!r} is not accepted; accepted: numbers >= {least}")
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

    `options` are the fields of `Options`. Raises `InputError` with near misses for a name that
    is neither, and for data that cannot be used.
    """
    chosen = _options(options)
    for key in _SOURCES.names():
        source = _SOURCES.get(key)
        if name in source.names():
            return source.load(name, chosen)
    path = Path(name).expanduser()
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
