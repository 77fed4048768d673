"""The registry of few-shot methods."""

from __future__ import annotations

from typing import TYPE_CHECKING

from transnas._registry import Registry

if TYPE_CHECKING:
    from transnas.meta.few_shot._learner import Learner

__all__ = ["get", "names", "register"]

_METHODS: Registry[type[Learner]] = Registry(
    "few-shot method", "transnas.meta.few_shot", "few_shot_methods"
)
register = _METHODS.register
"""Decorator that enters a `Learner` under a name."""
names = _METHODS.names
get = _METHODS.get
