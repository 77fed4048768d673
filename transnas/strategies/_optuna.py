"""Architectures as Optuna parameters: one categorical a choice, one float a number range.

Optuna has no masks. A parameter set is therefore a *code*, which `decode` turns into a valid
architecture: along the choices in order, a value that the mask forbids after the prefix stands
for the allowed value at its position modulo their number. Every code has an architecture, every
architecture is its own code, and every sampler works with all parameters of every trial.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from transnas._errors import InputError
from transnas.spaces import Architecture, Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

__all__ = ["as_optuna_sampler", "decode", "distributions", "parameters", "pruning", "suggest"]


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the Optuna distribution of each choice and range, by its name."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    choices = {c.name: CategoricalDistribution(c.values) for c in space.choices}
    ranges = {r.name: FloatDistribution(r.low, r.high, log=r.log) for r in space.ranges}
    return {**choices, **ranges}


def parameters(space: Space, arch: Architecture) -> dict[str, Any]:
    """Return the Optuna parameters of an architecture."""
    names = {c.name: c.values[v] for c, v in zip(space.choices, arch.values, strict=True)}
    numbers = {r.name: n for r, n in zip(space.ranges, arch.numbers, strict=True)}
    return {**names, **numbers}


def decode(space: Space, params: Mapping[str, Any]) -> Architecture:
    """Return the architecture that Optuna parameters stand for; other names are left alone.

    Raises `InputError` if a parameter is missing or has a value that the space does not know.
    """
    values: tuple[int, ...] = ()
    for choice in space.choices:
        if choice.name not in params or params[choice.name] not in choice.values:
            raise InputError(
                f"parameter {choice.name!r} is {params.get(choice.name)!r}; "
                f"accepted: {', '.join(choice.values)}"
            )
        value = choice.values.index(params[choice.name])
        mask = space.mask(values)
        if not mask[value]:
            allowed = np.flatnonzero(mask).tolist()
            value = allowed[value % len(allowed)]
        values += (value,)
    missing = [r.name for r in space.ranges if r.name not in params]
    if missing:
        raise InputError(f"parameter {missing[0]!r} is missing; accepted: a number")
    return space.architecture(values, [params[r.name] for r in space.ranges])


def suggest(trial: optuna.trial.BaseTrial, space: Space) -> Architecture:
    """Return an architecture that an Optuna trial proposes, for use in an objective.

    The space's choices and ranges become the trial's parameters, under their own names; the
    architecture is also left in the trial's user attribute `architecture`, as text.
    """
    params: dict[str, Any] = {}
    for choice in space.choices:
        params[choice.name] = trial.suggest_categorical(choice.name, choice.values)
    for r in space.ranges:
        params[r.name] = trial.suggest_float(r.name, r.low, r.high, log=r.log)
    arch = decode(space, params)
    trial.set_user_attr("architecture", space.to_text(arch))
    return arch


def pruning(
    trial: optuna.trial.BaseTrial, metric: str = "validation_accuracy"
) -> Callable[[int, Mapping[str, float]], None]:
    """Return what reports a training's learning curve to `trial`, and ends it if that is hopeless.

        def objective(trial):
            arch = suggest(trial, space)
            training = Training(task, space, progress=pruning(trial))
            return training.evaluate(arch).metrics["validation_accuracy"]

    Every pruner of Optuna works so (successive halving, Hyperband, median). Raises
    `optuna.TrialPruned` from inside the training, after the epoch in which the pruner says so.
    """

    def after_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        from optuna import TrialPruned

        trial.report(metrics[metric], epoch)
        if trial.should_prune():
            raise TrialPruned(f"stopped after epoch {epoch} at {metrics[metric]:.4g}")

    return after_epoch


def as_optuna_sampler(
    strategy: str, space: Space, seed: int = 0, **settings: Any
) -> optuna.samplers.BaseSampler:
    """Return an Optuna sampler that asks the registered `strategy`.

        study = optuna.create_study(sampler=as_optuna_sampler("local-search", space))
        study.optimize(lambda trial: train(suggest(trial, space)), n_trials=50)

    Parameters of the objective that do not belong to `space` are sampled at random. Raises
    `InputError` for an unknown strategy or setting, or for a strategy with budgets.
    """
    from transnas.strategies._optuna_sampler import StrategySampler

    return StrategySampler(strategy, space, seed, settings)
