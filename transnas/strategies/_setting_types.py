"""What a field of a settings dataclass accepts, read from its annotation."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from transnas._errors import InputError

__all__ = ["accepted", "check_types", "options"]


def check_types(cls: type[Any], given: Mapping[str, Any]) -> None:
    """Raise `InputError` for a value of `given` that the field of `cls` does not accept.

    Integers are numbers, but true and false are neither, and NaN is no number.
    """
    kinds = get_type_hints(cls)
    for name, value in given.items():
        if not any(_fits(value, option) for option in options(kinds[name])):
            raise InputError(f"setting {name!r} is {value!r}; accepted: {accepted(kinds[name])}")


def options(kind: Any) -> list[Any]:
    """Return the types (or literal values) that `kind` allows, the strictest first."""
    if get_origin(kind) in (Union, types.UnionType):
        found = [option for part in get_args(kind) for option in options(part)]
        order = [type(None), bool, int, float]
        return sorted(found, key=lambda o: order.index(o) if o in order else len(order))
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    return [kind]


def accepted(kind: Any) -> str:
    """Return in words what `kind` allows."""
    return " or ".join(_described(option) for option in options(kind))


def _fits(value: object, option: Any) -> bool:
    """Return whether `value` is of a type, or is a literal; of other annotations all are."""
    if option in (bool, str, type(None)):
        return isinstance(value, option)
    if option in (int, float):
        number = isinstance(value, (int, option)) and not isinstance(value, bool)
        return number and not math.isnan(value)  # type: ignore[arg-type]
    if isinstance(option, (bool, int, str)):
        return type(value) is type(option) and value == option
    return True


def _described(option: Any) -> str:
    names = {bool: "true, false", int: "an integer", float: "a number", str: "text"}
    if option is type(None):
        return "none"
    return names.get(option, repr(option))
