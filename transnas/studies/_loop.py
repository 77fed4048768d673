"""The loop of every sampled search: ask, evaluate, tell, store."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture
from transnas.strategies import Exhausted
from transnas.studies._errors import SearchError
from transnas.studies._executors import Executor, Job, Outcome
from transnas.studies._history import History
from transnas.studies._study import Study
from transnas.studies._trial import Entry, Trial
from transnas.studies._writer import Writer

__all__ = ["Loop"]

HOPELESS = 10
"""A run whose first trials all fail is stopped after this many."""


@dataclass
class Loop:
    """One run of a study up to `wanted` trials; `report` is called after each told trial."""

    study: Study
    history: History
    executor: Executor
    writer: Writer
    wanted: int
    report: Callable[[Trial], None]
    _failures: int = field(default=0, init=False)
    _worked: bool = field(default=False, init=False)
    """Whether a trial of this run did: a data disk that was there yesterday may be gone today."""

    def run(self) -> None:
        """Search until `wanted` trials are told or the strategy has nothing left.

        Raises `InputError` if the evaluator refuses its input, `SearchError` if no trial works,
        `StorageError` if trials cannot be stored.
        """
        # Asked for by an earlier run that ended before their measurement.
        waiting = list(self.history.pending)
        running = 0
        more = True
        while True:
            room = min(self.executor.capacity, self.wanted - self.history.told)
            while running < room and (waiting or more):
                ask = waiting.pop(0) if waiting else self._ask()
                if ask is None:
                    more = False
                    break
                self.executor.submit(self._job(ask))
                running += 1
            if running == 0:
                return
            for outcome in self.executor.wait(seconds=1.0):
                running -= 1
                self._tell(outcome)
                more = True  # a result may open what was exhausted before: a promotion
            self.writer.check()

    def _ask(self) -> int | None:
        try:
            return self.history.ask()
        except Exhausted:
            return None

    def _job(self, ask: int) -> Job:
        study, strategy = self.study, self.history.strategy
        arch = self.history.pending[ask]
        if strategy.full_budget is None:
            return Job(ask, arch, study.budget, evaluation_seed(study.seed, ask))
        return Job(ask, arch, strategy.budget(arch), promoted_seed(study, arch))

    def _tell(self, outcome: Outcome) -> None:
        measurement = judged(outcome.result, self.study.objectives, self._worked)
        full, used = self.history.strategy.full_budget, outcome.job.budget
        if full is not None and used is not None and used < full:
            measurement = stopped_early(measurement)
        found = measurement.found
        trial = Trial(
            len(self.study.trials),
            outcome.job.arch if found is None else found.architecture,
            measurement,
            outcome.started,
            outcome.finished,
            outcome.job.ask,
        )
        self.writer.put(Entry(trial, self.history.asked))
        self.study.trials.append(trial)
        self.history.tell(trial.ask, measurement)
        snapshot = self.history.snapshot()
        if snapshot is not None:
            self.writer.save(snapshot)
        self.report(trial)
        self._stop_if_hopeless(measurement)

    def _stop_if_hopeless(self, measurement: Measurement) -> None:
        if measurement.status != "failed":
            self._worked = True
        if self._worked:
            return
        self._failures += 1
        if self._failures >= HOPELESS:
            more = "the same command" if self.history.told < self.wanted else "a greater --trials"
            raise SearchError(
                f"the first {self._failures} trials all failed, the last with: "
                f"{measurement.error}; they are stored, and {more} tries further ones once the "
                "cause is mended"
            )


def judged(
    result: Measurement | InputError, objectives: tuple[Objective, ...], worked: bool
) -> Measurement:
    """Return the measurement, failed with a reason if an objective has no finite value.

    What the user can mend, a refusal of the evaluator or a metric that it does not measure, is
    raised as `InputError`, unless trials `worked` before and only this one does not.
    """
    if isinstance(result, InputError):
        if not worked:
            raise result
        return Measurement.failed(str(result))
    measurement = result
    if measurement.status == "failed":
        return measurement
    for objective in objectives:
        if objective.metric not in measurement.metrics:
            known = ", ".join(sorted(measurement.metrics)) or "none"
            reason = f"objective {objective.metric!r} is not measured; accepted: {known}"
            if not worked:
                raise InputError(reason)
            return replace(measurement, status="failed", error=reason)
        value = objective.value(measurement)
        if not math.isfinite(value):
            reason = f"{objective.metric} is {value}"
            return replace(measurement, status="failed", error=reason)
    return measurement


def stopped_early(measurement: Measurement) -> Measurement:
    """Return the measurement as that of a trial that was given only a part of the full budget."""
    return (
        replace(measurement, status="pruned") if measurement.status == "complete" else measurement
    )


def evaluation_seed(seed: int, ask: int) -> int:
    """Return the seed of one evaluation: independent for each trial, the same when retried."""
    return int(np.random.SeedSequence([seed, ask]).generate_state(1)[0])


def promoted_seed(study: Study, arch: Architecture) -> int:
    """Return the seed of an architecture's evaluations under a strategy with budgets.

    One that is promoted keeps its seed: its rungs differ in epochs alone.
    """
    return evaluation_seed(study.seed, zlib.crc32(study.space.to_text(arch).encode()))
