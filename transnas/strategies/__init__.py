"""Strategies that try one architecture after another (ask / tell)."""

from transnas.strategies._base import (
    Exhausted,
    NoSettings,
    Strategy,
    generator_state,
    require_categorical,
    restore_generator,
)
from transnas.strategies._optuna import as_optuna_sampler, pruning, suggest
from transnas.strategies._registry import create, get, names, register
from transnas.strategies._replicates import Replicated, register_replicated, replicate
from transnas.strategies._stream import Stream
from transnas.strategies.wrappers import Averaged, Deduplicated, Retrying, WarmStarted, Wrapper

__all__ = [
    "Averaged",
    "Deduplicated",
    "Exhausted",
    "NoSettings",
    "Replicated",
    "Retrying",
    "Strategy",
    "Stream",
    "WarmStarted",
    "Wrapper",
    "as_optuna_sampler",
    "create",
    "generator_state",
    "get",
    "names",
    "pruning",
    "register",
    "register_replicated",
    "replicate",
    "require_categorical",
    "restore_generator",
    "suggest",
]
