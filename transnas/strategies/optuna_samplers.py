"""Optuna's samplers as strategies."""

from __future__ import annotations

import sys
import warnings
from abc import abstractmethod
from dataclasses import dataclass
from math import isnan
from typing import TYPE_CHECKING, Any

from transnas._errors import InputError, require
from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._base import Exhausted, Strategy
from transnas.strategies._draws import Shuffled, mutate, pack, unpack
from transnas.strategies._optuna import decode, distributions, parameters
from transnas.strategies._registry import register
from transnas.strategies._stream import Stream
from transnas.strategies.settings import check_range

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study
    from optuna.trial import Trial

__all__ = ["CMAES", "NSGA2", "NSGA3", "QMC", "TPE", "OptunaGP", "OptunaRandom", "OptunaStrategy"]

_REPEATS = 5
"""Repeats in a row that are withdrawn before a mutant is taken instead."""
_STEPS = 100
"""Mutations in search of an untried architecture, before it is taken at random."""


class OptunaStrategy(Strategy):
    """Asks the Optuna sampler that `sampler` returns; any sampler becomes a strategy so.

    Choices are categorical parameters, see `_optuna.decode` for masks. All objectives are
    maximised as rewards. A proposal that was measured before or is under way is withdrawn (a
    failed trial, which Optuna's samplers ignore) and the sampler asked again, so that no
    evaluation is spent on a repeat. After 5 repeats in a row the last is mutated until it is
    untried, which stays close to what a converged sampler wants. Failed measurements are failed
    trials too. `Exhausted` when all were tried.

    Samplers hold state that only pickle could save. `state` is therefore the log of asks and
    tells, and `restore` goes through it again: exact, at the price of asking again.
    """

    max_objectives = sys.maxsize

    @abstractmethod
    def sampler(self, seed: int) -> BaseSampler:
        """Return a new Optuna sampler with a seed in 0..2^32-1."""

    def _begin(self) -> None:
        self._distributions = distributions(self.space)
        self._study = self._new_study()
        self.stream = Stream(self.seed)
        self._order = Shuffled(self.space, self.seed)
        self._told: set[Architecture] = set()
        self._pending: dict[Architecture, Trial] = {}
        self._log: list[Any] = []

    def _new_study(self) -> Study:
        import optuna

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            sampler = self.sampler(self.seed & 0xFFFFFFFF)
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(max(verbosity, optuna.logging.WARNING))
        try:  # a study in memory is no event for the user's log
            directions = [optuna.study.StudyDirection.MAXIMIZE] * len(self.objectives)
            return optuna.create_study(sampler=sampler, directions=directions)
        finally:
            optuna.logging.set_verbosity(verbosity)

    def ask(self) -> Architecture:
        if not self.space.ranges and self._tried() >= self.space.size:
            raise Exhausted(f"all architectures of space {self.space.name!r} were tried")
        arch, trial = self._new_proposal()
        self._pending[arch] = trial
        self._log.append(None)
        return arch

    def _tried(self) -> int:
        return len(self._told | self._pending.keys())

    def _new_proposal(self) -> tuple[Architecture, Trial]:
        for _ in range(_REPEATS):
            trial = self._study.ask(self._distributions)
            arch = decode(self.space, trial.params)
            if arch not in self._told and arch not in self._pending:
                return arch, trial
            self._finish(trial, None)
        arch = self._untried(arch)
        self._study.enqueue_trial(parameters(self.space, arch))
        return arch, self._study.ask(self._distributions)

    def _untried(self, arch: Architecture) -> Architecture:
        """Return an untried architecture on a random walk from `arch`, else any untried one."""
        tried = self._told | self._pending.keys()
        for _ in range(_STEPS):
            arch = mutate(self.space, arch, self.stream)
            if arch not in tried:
                return arch
        return self._order.next(tried)

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        rewards = [objective.reward(measurement) for objective in self.objectives]
        self._tell(arch, None if any(map(isnan, rewards)) else rewards)

    def _tell(self, arch: Architecture, rewards: list[float] | None) -> None:
        trial = self._pending.pop(arch, None)
        if trial is not None:
            self._finish(trial, rewards)
        else:
            self._add(arch, rewards)
        self._told.add(arch)
        self._log.append([pack(arch), rewards])

    def _finish(self, trial: Trial, rewards: list[float] | None) -> None:
        from optuna.trial import TrialState

        state = TrialState.COMPLETE if rewards else TrialState.FAIL
        self._study.tell(trial, rewards, state=state)

    def _add(self, arch: Architecture, rewards: list[float] | None) -> None:
        """Enter the result of an architecture that was not asked for."""
        import optuna

        state = optuna.trial.TrialState.COMPLETE if rewards else optuna.trial.TrialState.FAIL
        params = parameters(self.space, arch)
        trial = optuna.create_trial(
            state=state, params=params, distributions=self._distributions, values=rewards
        )
        self._study.add_trial(trial)

    def state(self) -> dict[str, Any]:
        return {"log": list(self._log)}

    def restore(self, state: dict[str, Any]) -> None:
        self._begin()
        for entry in state["log"]:
            if entry is None:
                self.ask()
            else:
                self._tell(unpack(self.space, entry[0]), entry[1])


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the samplers with a model."""

    startup: int = 10
    """Random trials before the model is used."""

    def __post_init__(self) -> None:
        check_range(self, "startup", least=1)


@dataclass(frozen=True)
class PopulationSettings:
    """Settings of the genetic samplers."""

    population: int = 50
    """Trials in a generation."""

    def __post_init__(self) -> None:
        check_range(self, "population", least=2)


@register("tpe")
class TPE(OptunaStrategy):
    """Tree-structured Parzen estimator, several objectives too (`optuna.samplers.TPESampler`).

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011.
    """

    Settings = ModelSettings

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import TPESampler

        return TPESampler(n_startup_trials=self.settings.startup, seed=seed)


@register("nsga2")
class NSGA2(OptunaStrategy):
    """Non-dominated sorting genetic algorithm (`optuna.samplers.NSGAIISampler`).

    Source: Deb et al., "A Fast and Elitist Multiobjective Genetic Algorithm: NSGA-II", 2002.
    What was told without being asked for is in no generation, and not selected from.
    """

    Settings = PopulationSettings

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIISampler

        return NSGAIISampler(population_size=self.settings.population, seed=seed)


@register("nsga3")
class NSGA3(OptunaStrategy):
    """NSGA with reference points, for many objectives (`optuna.samplers.NSGAIIISampler`).

    Source: Deb & Jain, "An Evolutionary Many-Objective Optimization Algorithm", 2014.
    """

    Settings = PopulationSettings

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import NSGAIIISampler

        return NSGAIIISampler(population_size=self.settings.population, seed=seed)


@register("optuna-gp")
class OptunaGP(OptunaStrategy):
    """Optuna's Gaussian process on one-hot choices (`optuna.samplers.GPSampler`).

    About a tenth of a second a proposal; see the strategies of `transnas.meta` for faster ones.
    """

    Settings = ModelSettings

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import GPSampler

        return GPSampler(
            n_startup_trials=self.settings.startup, seed=seed, warn_independent_sampling=False
        )


@register("optuna-random")
class OptunaRandom(OptunaStrategy):
    """Optuna's random sampler, repeats skipped (`optuna.samplers.RandomSampler`)."""

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import RandomSampler

        return RandomSampler(seed)


class _Numeric(OptunaStrategy):
    """A sampler that works on number ranges; the choices beside them are drawn at random."""

    def _begin(self) -> None:
        if not self.space.ranges:
            raise InputError(
                f"space {self.space.name!r} has only categorical choices; strategy "
                f"{self.name!r} accepts: spaces with number ranges "
                "(for choices: tpe, sobol)"
            )
        super()._begin()


@register("cma-es")
class CMAES(_Numeric):
    """Covariance matrix adaptation (`optuna.samplers.CmaEsSampler`, with the extra `samplers`).

    Source: Hansen, "The CMA Evolution Strategy: A Tutorial", 2016.
    """

    max_objectives = 1

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import CmaEsSampler

        require("strategy 'cma-es'", "cmaes", "samplers")
        return CmaEsSampler(seed=seed, warn_independent_sampling=False)


@register("qmc")
class QMC(_Numeric):
    """Scrambled Sobol points on the numbers (`optuna.samplers.QMCSampler`)."""

    def sampler(self, seed: int) -> BaseSampler:
        from optuna.samplers import QMCSampler

        return QMCSampler(scramble=True, seed=seed, warn_independent_sampling=False)
