"""A strategy of ours as an Optuna sampler. Imports Optuna; imported on first use only."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Space
from transnas.strategies._base import Exhausted, Strategy
from transnas.strategies._optuna import decode, distributions, parameters
from transnas.strategies._registry import create

__all__ = ["StrategySampler"]


class StrategySampler(BaseSampler):
    """Asks a strategy for the parameters of a space; everything else is sampled at random.

    The strategy is made at the first trial, when the study's directions are known, and is told
    every finished trial of the study, those of other processes included. A study that is loaded
    again is told all its trials; the proposals then continue from them, but are not the ones an
    undisturbed run would have made. When the strategy is exhausted, the study is stopped.
    """

    def __init__(self, name: str, space: Space, seed: int, settings: Mapping[str, Any]) -> None:
        self._name = name
        self._space = space
        self._seed = seed
        self._settings = dict(settings)
        found = create(name, space, seed, **self._settings)  # bad input is answered here
        if found.full_budget is not None:
            raise InputError(
                f"strategy {name!r} chooses the epochs of each trial, which no sampler can; "
                "accepted: one without budgets, beside a pruner of Optuna's"
            )
        self._distributions = distributions(space)
        self._random = RandomSampler(seed)
        self._strategy: Strategy | None = None
        self._told: set[int] = set()
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return f"StrategySampler({self._name})"

    def reseed_rng(self) -> None:
        """Reseed what is sampled at random; the strategy itself is shared by all workers."""
        self._random.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        if not search_space or search_space != self._distributions:
            return {}
        with self._lock:
            if self._strategy is None:
                self._strategy = self._create(study)
            self._tell_finished(study, self._strategy)
            try:
                return parameters(self._space, self._strategy.ask())
            except Exhausted:
                # Outside of `optimize` there is nothing to stop, and the trial is a random one.
                with contextlib.suppress(RuntimeError):
                    study.stop()
                return {}

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        return self._random.sample_independent(study, trial, param_name, param_distribution)

    def _create(self, study: Study) -> Strategy:
        objectives = [
            Objective(f"value_{i}", direction == StudyDirection.MAXIMIZE)
            for i, direction in enumerate(study.directions)
        ]
        return create(self._name, self._space, self._seed, objectives, **self._settings)

    def _tell_finished(self, study: Study, strategy: Strategy) -> None:
        for trial in study.get_trials(deepcopy=False):
            if trial.state.is_finished() and trial.number not in self._told:
                self._told.add(trial.number)
                with contextlib.suppress(InputError):  # a trial of something else
                    strategy.tell(decode(self._space, trial.params), _measurement(trial))


def _measurement(trial: optuna.trial.FrozenTrial) -> Measurement:
    if trial.state == TrialState.FAIL or trial.values is None:
        return Measurement.failed(trial.system_attrs.get("fail_reason", "the trial failed"))
    metrics = {f"value_{i}": float(value) for i, value in enumerate(trial.values)}
    pruned = trial.state == TrialState.PRUNED
    return Measurement(metrics, status="pruned" if pruned else "complete")
