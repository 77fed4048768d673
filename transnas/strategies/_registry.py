"""The registry of ask/tell strategies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transnas._registry import Registry
from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.strategies._base import Strategy
from transnas.strategies.settings import settings_from

__all__ = ["create", "get", "names", "register"]

_STRATEGIES: Registry[type[Strategy]] = Registry("strategy", "transnas.strategies", "strategies")

register = _STRATEGIES.register
names = _STRATEGIES.names
get = _STRATEGIES.get


def create(
    name: str,
    space: Space,
    seed: int = 0,
    objectives: Sequence[Objective] = (Objective(),),
    **settings: Any,
) -> Strategy:
    """Return a new strategy by its registered name; `settings` are fields of its `Settings`."""
    cls = get(name)
    return cls(space, seed, objectives, settings_from(cls, settings))
