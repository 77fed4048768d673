"""The registry of ask/tell strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from transnas._registry import Registry
from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.strategies._base import Strategy
from transnas.strategies.settings import settings_from

__all__ = ["create", "get", "names", "register"]

S = TypeVar("S", bound=Strategy)

_STRATEGIES: Registry[type[Strategy]] = Registry("strategy", "transnas.strategies", "strategies")

names = _STRATEGIES.names
get = _STRATEGIES.get


def register(name: str) -> Callable[[type[S]], type[S]]:
    """Return a decorator that enters a strategy under `name`, which is its `name` from then on."""

    def enter(cls: type[S]) -> type[S]:
        _STRATEGIES.register(name)(cls)
        cls.name = name
        return cls

    return enter


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
