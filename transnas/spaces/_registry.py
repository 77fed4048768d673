"""The registry of search spaces."""

from __future__ import annotations

from collections.abc import Callable

from transnas._registry import Registry
from transnas.spaces._base import Space

__all__ = ["get", "names", "register"]

_SPACES: Registry[Callable[[], Space]] = Registry("space", "transnas.spaces", "spaces")
_instances: dict[str, Space] = {}

register = _SPACES.register
names = _SPACES.names


def get(name: str) -> Space:
    """Return the space called `name` (one shared instance; spaces have no state)."""
    if name not in _instances:
        _instances[name] = _SPACES.get(name)()
    return _instances[name]
