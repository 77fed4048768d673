"""The registry of one-shot methods."""

from __future__ import annotations

from transnas._registry import Registry
from transnas.oneshot._base import OneShot

__all__ = ["get", "names", "register"]

_METHODS: Registry[type[OneShot]] = Registry("one-shot method", "transnas.oneshot", "oneshot")

register = _METHODS.register
"""Decorator that enters a `OneShot` under a name."""
names = _METHODS.names
get = _METHODS.get
