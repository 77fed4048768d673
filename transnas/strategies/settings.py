"""The settings of a method from names and values, and the checks that `Settings` make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from transnas._checks import check_range, check_types
from transnas._errors import unknown

__all__ = ["check_range", "check_types", "settings_from"]


def settings_from(cls: type[Any], given: Mapping[str, Any]) -> Any:
    """Return `cls.Settings` from names and values.

    Raises `InputError` for unknown names and for values of another type than the field's.
    """
    known = {f.name: f for f in fields(cls.Settings)}
    for name in given:
        if name not in known:
            raise unknown("setting", name, known)
    check_types(cls.Settings, given)
    return cls.Settings(**given)
