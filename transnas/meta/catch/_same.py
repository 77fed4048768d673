"""Whether what is on disk belongs to the training that finds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transnas._errors import InputError

__all__ = ["require_same"]


def require_same(what: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `InputError` naming the first difference of `what`, also within dictionaries."""
    for field, value in wanted.items():
        pairs = {field: (found.get(field), value)}
        if isinstance(value, dict):
            old = found.get(field) or {}
            pairs = {f"{field} {n!r}": (old.get(n), value.get(n)) for n in {**value, **old}}
        for name, (there, here) in pairs.items():
            if there != here:
                raise InputError(
                    f"{what} has {name} {there!r}; accepted: {here!r}, or another folder"
                )
