"""Checks of what users give: types from a dataclass's annotations, and ranges of numbers."""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from transnas._errors import InputError

__all__ = ["accepted", "check_range", "check_types", "check_whole", "options"]


def check_whole(field: str, value: object, least: int) -> int:
    """Return `value`; raises `InputError` unless it is a whole number of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{field} {value!r} is not accepted; accepted: whole numbers from {least}")
    return value


def check_types(cls: type[Any], given: Mapping[str, Any], what: str = "setting") -> None:
    """Raise `InputError` for a value of `given` that the field of `cls` does not accept.

    Integers are numbers, but true and false are neither, and NaN is no number. The message calls
    a field `what`.
    """
    kinds = get_type_hints(cls)
    for name, value in given.items():
        if not _is_one_of(value, options(kinds[name])):
            raise _refused(what, name, value, accepted(kinds[name]))


def check_range(
    settings: object,
    *names: str,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    what: str = "setting",
) -> None:
    """Raise `InputError` unless these fields hold finite numbers of their type in the range.

    None passes where the field accepts it. The message calls a field `what`.
    """
    kinds = get_type_hints(type(settings))
    for name in names:
        value, allowed = getattr(settings, name), options(kinds[name])
        none = type(None) in allowed
        if none and value is None:
            continue
        right = (
            _is_one_of(value, [option for option in allowed if option in (int, float)])
            and -math.inf < value < math.inf
            and (least is None or value >= least)
            and (above is None or value > above)
            and (most is None or value <= most)
            and (below is None or value < below)
        )
        if not right:
            numbers = _range(float not in allowed, least, above, most, below)
            raise _refused(what, name, value, f"none or {numbers}" if none else numbers)


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


def _refused(what: str, name: str, value: object, right: str) -> InputError:
    return InputError(f"{what} {name!r} is {value!r}; accepted: {right}")


def _is_one_of(value: object, options: list[Any]) -> bool:
    return any(_fits(value, option) for option in options)


def _fits(value: object, option: Any) -> bool:
    """Return whether `value` is of a type, or is a literal; of other annotations all are."""
    if option in (bool, str, type(None)):
        return isinstance(value, option)
    if option in (int, float):
        number = isinstance(value, (int, option)) and not isinstance(value, bool)
        return number and not (isinstance(value, float) and math.isnan(value))
    if isinstance(option, (bool, int, str)):
        return type(value) is type(option) and value == option
    return True


def _described(option: Any) -> str:
    names = {bool: "true, false", int: "an integer", float: "a number", str: "text"}
    if option is type(None):
        return "none"
    return names.get(option, repr(option))


def _range(
    whole: bool, least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    """Return in words a range of numbers, as `whole numbers from 1`."""
    what = "finite numbers" if most is None and below is None else "numbers"
    words = ["whole numbers" if whole else what]
    words += [] if least is None else [f"from {least:g}"]
    words += [] if above is None else [f"above {above:g}"]
    words += [] if most is None else [f"to {most:g}"]
    words += [] if below is None else [f"and below {below:g}"]
    return " ".join(words)
