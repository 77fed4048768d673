"""The registry of built-in tasks, by name or by pattern."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from transnas._errors import unknown
from transnas._registry import Registry
from transnas.tasks._base import Task

__all__ = ["Source", "get", "names", "register"]


@dataclass(frozen=True, slots=True)
class Source:
    """A family of built-in tasks: the names it can load now, and how to load one."""

    names: Callable[[], Iterable[str]]
    load: Callable[[str], Task]


_SOURCES: Registry[Source] = Registry("task source", "transnas.tasks", "tasks")


def register(name: str, source: Source) -> None:
    """Enter a family of tasks."""
    _SOURCES.register(name)(source)


def names() -> list[str]:
    """Return the names of all tasks whose data are present."""
    return sorted(name for key in _SOURCES.names() for name in _SOURCES.get(key).names())


def get(name: str) -> Task:
    """Return a task by its built-in name, or from a folder or .npz file at that path.

    Raises `InputError` with near misses for a name that is neither.
    """
    for key in _SOURCES.names():
        source = _SOURCES.get(key)
        if name in source.names():
            return source.load(name)
    path = Path(name)
    if path.exists():
        from transnas.tasks.files import from_path

        return from_path(path)
    raise unknown("task", name, names())
