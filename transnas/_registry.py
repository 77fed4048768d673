"""Registries: a decorator on the thing itself is the only place where it is named."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from transnas._errors import unknown

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names mapped to things of one kind, filled by a decorator and found on first use.

    The modules of `package` are imported on the first look-up, so a new file there is registered
    without another line anywhere. Other distributions add theirs with the entry-point group
    `transnas.<group>`: each entry point names a module or object whose import registers it.
    """

    def __init__(self, kind: str, package: str, group: str) -> None:
        self._kind = kind
        self._package = package
        self._group = f"transnas.{group}"
        self._things: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that enters a thing under `name`; a name is taken once."""

        def enter(thing: T) -> T:
            if name in self._things and self._things[name] is not thing:
                raise ValueError(f"{self._kind} {name!r} is registered twice")
            self._things[name] = thing
            return thing

        return enter

    def names(self) -> list[str]:
        """Return every registered name, sorted."""
        self._discover()
        return sorted(self._things)

    def get(self, name: str) -> T:
        """Return the thing called `name`; raises `InputError` with near misses otherwise."""
        if name not in self._things:
            self._discover()
        if name not in self._things:
            raise unknown(self._kind, name, self._things)
        return self._things[name]

    def _discover(self) -> None:
        if self._discovered:
            return
        self._discovered = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            if not module.name.startswith("_"):
                importlib.import_module(f"{self._package}.{module.name}")
        for point in entry_points(group=self._group):
            point.load()
