"""What may search: ask/tell strategies and one-shot methods, under one set of names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transnas import strategies
from transnas._errors import InputError, unknown
from transnas.strategies import Strategy

if TYPE_CHECKING:
    from transnas.oneshot import OneShot

__all__ = ["get", "names"]


def names() -> list[str]:
    """Return every name that `search` takes as a strategy, sorted."""
    from transnas import oneshot

    return sorted([*strategies.names(), *oneshot.names()])


def get(name: str) -> type[Strategy] | type[OneShot]:
    """Return the class of a name; raises `InputError` with near misses for another one."""
    try:
        return strategies.get(name)  # before one-shot methods, which load torch
    except InputError:
        from transnas import oneshot

        if name in oneshot.names():
            return oneshot.get(name)
        raise unknown("strategy", name, names()) from None
