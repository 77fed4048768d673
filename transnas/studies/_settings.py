"""Strategy settings written as text: `key=value`, typed by the strategy's `Settings`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, get_type_hints

from transnas._checks import accepted, options
from transnas._errors import InputError, unknown
from transnas.studies import _methods

__all__ = ["method_and_settings", "typed", "typed_settings", "untyped"]


def typed_settings(strategy: str, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the settings of `strategy` that `key=value` texts give, as its fields' types.

    Raises `InputError` for another form, an unknown name, or a value of the wrong type.
    """
    return typed(_methods.get(strategy).Settings, f"strategy {strategy!r}", assignments)


def typed(cls: type[Any], owner: str, assignments: Iterable[str]) -> dict[str, Any]:
    """Return the fields of dataclass `cls` that `key=value` texts give; see `typed_settings`."""
    types_by_name = get_type_hints(cls)
    known = [f.name for f in fields(cls)]
    found: dict[str, Any] = {}
    for name, text in _pairs(assignments).items():
        if name not in known:
            raise unknown(f"setting of {owner}", name, known)
        found[name] = _typed(name, text, types_by_name[name])
    return found


def untyped(assignments: Iterable[str]) -> dict[str, Any]:
    """Return what `key=value` texts give, as an integer, a number, true or false, or text.

    For settings that their owner checks. Raises `InputError` for another form.
    """
    return {n: _typed(n, text, bool | int | float | str) for n, text in _pairs(assignments).items()}


def _pairs(assignments: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise InputError(f"setting {assignment!r} is not readable; accepted: name=value")
        if name in found:
            raise InputError(f"setting {name!r} is given twice; accepted: once")
        found[name] = text.strip()
    return found


def method_and_settings(method: str) -> tuple[str, dict[str, Any]]:
    """Split `name` or `name:key=value,key=value` into a strategy's name and its settings."""
    name, _, rest = method.partition(":")
    return name, typed_settings(name, rest.split(",") if rest else ())


def _typed(name: str, text: str, kind: Any) -> Any:
    for option in options(kind):
        if option is type(None):
            if text.lower() == "none":
                return None
        elif option is bool:
            if text.lower() in ("true", "false"):
                return text.lower() == "true"
        elif option in (int, float, str):
            try:
                return option(text)
            except ValueError:
                continue
        elif text == str(option):
            return option
    raise InputError(f"setting {name!r} has value {text!r}; accepted: {accepted(kind)}")
