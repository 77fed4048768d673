"""The registry of few-shot methods, and the settings of learning with one."""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import TYPE_CHECKING, Any

from transnas._errors import InputError, unknown
from transnas._registry import Registry
from transnas.meta.few_shot.settings import FamilySettings

if TYPE_CHECKING:
    from transnas.meta.few_shot._learner import Learner

__all__ = ["get", "names", "register", "settings_class", "split_settings"]

_METHODS: Registry[type[Learner]] = Registry(
    "few-shot method", "transnas.meta.few_shot", "few_shot_methods"
)
register = _METHODS.register
"""Decorator that enters a `Learner` under a name."""
names = _METHODS.names
get = _METHODS.get


def settings_class(method: str) -> type[Any]:
    """Return a dataclass with the fields of `FamilySettings` and of the method's settings."""
    return make_dataclass(
        "LearnSettings", [], bases=(get(method).Settings, FamilySettings), frozen=True
    )


def split_settings(method: str, given: dict[str, Any]) -> tuple[FamilySettings, Any]:
    """Return both kinds of settings.

    Raises `InputError` for a name that neither has, or a width that the method's network has not.
    """
    own, family = get(method).Settings, {f.name for f in fields(FamilySettings)}
    known = family | {f.name for f in fields(own)}
    for name in given:
        if name not in known:
            raise unknown(f"setting of method {method!r}", name, known)
    shared = FamilySettings(**{k: v for k, v in given.items() if k in family})
    if get(method).searches and shared.width % 2:
        raise InputError(
            f"setting 'width' is {shared.width}; accepted by method {method!r}: even numbers"
        )
    return shared, own(**{k: v for k, v in given.items() if k not in family})
