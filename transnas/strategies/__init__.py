"""Strategies that try one architecture after another (ask / tell)."""

from transnas.strategies._base import (
    Exhausted,
    NoSettings,
    Strategy,
    generator_state,
    restore_generator,
)
from transnas.strategies._registry import create, get, names, register
from transnas.strategies._replicates import Replicated, register_replicated, replicate

__all__ = [
    "Exhausted",
    "NoSettings",
    "Replicated",
    "Strategy",
    "create",
    "generator_state",
    "get",
    "names",
    "register",
    "register_replicated",
    "replicate",
    "restore_generator",
]
