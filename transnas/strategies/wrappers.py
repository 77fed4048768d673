"""Strategies around a strategy: what applies to all of them is written once.

    Deduplicated(create("regularized-evolution", space, seed))

A wrapper is an ordinary strategy. The one inside sees a consistent world: everything it asked
for is told to it in the end, once a call of its `ask`.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from transnas._checks import check_whole
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.strategies._base import Exhausted, NoSettings, Strategy
from transnas.strategies._draws import Shuffled, pack, unpack

if TYPE_CHECKING:
    from transnas.tasks import Task

__all__ = ["Averaged", "Deduplicated", "Retrying", "WarmStarted", "Wrapper"]

_PATIENCE = 1000

Key = tuple[tuple[int, ...], tuple[float, ...], int | None]


class Wrapper(Strategy):
    """A strategy around `inner`, with its space, seed and objectives."""

    max_objectives = sys.maxsize

    def __init__(self, inner: Strategy) -> None:
        super().__init__(inner.space, inner.seed, inner.objectives, NoSettings())
        self.inner = inner
        self.inherits = inner.inherits

    def meet(self, task: Task) -> None:
        self.inner.meet(task)

    @property
    def full_budget(self) -> int | None:
        return self.inner.full_budget

    def budget(self, arch: Architecture) -> int | None:
        return self.inner.budget(arch)

    def state(self) -> dict[str, Any]:
        return {"inner": self.inner.state(), **self._own_state()}

    def restore(self, state: dict[str, Any]) -> None:
        self.inner.restore(state["inner"])
        self._restore_own(state)

    @abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """Return the wrapper's own part of the state."""

    @abstractmethod
    def _restore_own(self, state: dict[str, Any]) -> None:
        """Inverse of `_own_state`."""


class Deduplicated(Wrapper):
    """Proposes one architecture of each isomorphism class (`Space.canonical`), and only once.

    A twin of what was measured is told its result at once, a twin of what is under way when
    that is told, and the inner strategy is asked again. Results count for the epochs that they
    were asked with. `Exhausted` after 1,000 twins in a row.
    """

    def __init__(self, inner: Strategy) -> None:
        super().__init__(inner)
        self._known: dict[Key, Measurement] = {}
        self._pending: dict[Key, list[Architecture]] = {}

    def ask(self) -> Architecture:
        for _ in range(_PATIENCE):
            arch = self.inner.ask()
            key = self._key(arch)
            if key in self._known:
                self.inner.tell(arch, self._known[key])
            elif key in self._pending:
                self._pending[key].append(arch)
            else:
                self._pending[key] = [arch]
                return arch
        raise Exhausted(f"{_PATIENCE} proposals in a row were twins of earlier ones")

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        key = self._key(arch)
        self._known[key] = remembered(measurement)
        waiting = self._pending.pop(key, [])
        if arch in waiting:
            waiting.remove(arch)
        for told in (arch, *waiting):
            self.inner.tell(told, measurement)

    def _key(self, arch: Architecture) -> Key:
        return self.space.canonical(arch).values, arch.numbers, self.inner.budget(arch)

    def _own_state(self) -> dict[str, Any]:
        return {
            "known": [[*key, m.to_dict()] for key, m in self._known.items()],
            "pending": [[*key, [pack(a) for a in archs]] for key, archs in self._pending.items()],
        }

    def _restore_own(self, state: dict[str, Any]) -> None:
        self._known = {
            (tuple(v), tuple(n), budget): Measurement.from_dict(m)
            for v, n, budget, m in state["known"]
        }
        self._pending = {
            (tuple(v), tuple(n), budget): [unpack(self.space, a) for a in archs]
            for v, n, budget, archs in state["pending"]
        }


class Retrying(Wrapper):
    """Proposes an architecture again whose measurement failed, up to `attempts` times in all.

    The inner strategy is told the failure of the last attempt only.
    """

    def __init__(self, inner: Strategy, attempts: int = 2) -> None:
        super().__init__(inner)
        check_whole("attempts", attempts, 1)
        self.attempts = attempts
        self._failures: dict[Architecture, int] = {}
        self._again: list[Architecture] = []

    def ask(self) -> Architecture:
        return self._again.pop(0) if self._again else self.inner.ask()

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        failures = self._failures.pop(arch, 0) + 1
        if measurement.status == "failed" and failures < self.attempts:
            self._failures[arch] = failures
            self._again.append(arch)
        else:
            self.inner.tell(arch, measurement)

    def _own_state(self) -> dict[str, Any]:
        return {
            "failures": [[pack(a), n] for a, n in self._failures.items()],
            "again": [pack(a) for a in self._again],
        }

    def _restore_own(self, state: dict[str, Any]) -> None:
        self._failures = {unpack(self.space, a): n for a, n in state["failures"]}
        self._again = [unpack(self.space, a) for a in state["again"]]


class Averaged(Wrapper):
    """Has each architecture measured `times` times, and tells the inner strategy the mean.

    The mean is over the measurements that did not fail, metric by metric; costs are added. If
    all failed, the last failure is told.
    """

    def __init__(self, inner: Strategy, times: int = 3) -> None:
        super().__init__(inner)
        check_whole("times", times, 1)
        self.times = times
        self._due: list[Architecture] = []
        self._results: dict[Architecture, list[Measurement]] = {}

    def ask(self) -> Architecture:
        if not self._due:
            self._due = [self.inner.ask()] * self.times
        return self._due.pop()

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        results = [*self._results.pop(arch, []), remembered(measurement)]
        if len(results) < self.times:
            self._results[arch] = results
        else:
            self.inner.tell(arch, mean(results))

    def _own_state(self) -> dict[str, Any]:
        return {
            "due": [pack(a) for a in self._due],
            "results": [[pack(a), [m.to_dict() for m in ms]] for a, ms in self._results.items()],
        }

    def _restore_own(self, state: dict[str, Any]) -> None:
        self._due = [unpack(self.space, a) for a in state["due"]]
        self._results = {
            unpack(self.space, a): [Measurement.from_dict(m) for m in ms]
            for a, ms in state["results"]
        }


class WarmStarted(Wrapper):
    """Proposes what looks best untrained first; then the inner strategy, which is told of it.

    `candidates` random architectures are scored by `scorer`, for example
    `ZeroCost(task, space, ("synflow", "nwot"))`, at the first `ask`. The `first` best by the sum
    of their ranks over all metrics are proposed, best first. Failed scores come last. The seconds
    that scoring took are in `seconds`; they belong to the cost of the search.
    """

    def __init__(
        self, inner: Strategy, scorer: Evaluator, candidates: int = 100, first: int = 10
    ) -> None:
        super().__init__(inner)
        check_whole("candidates", candidates, 1)
        check_whole("first", first, 1)
        self.scorer = scorer
        self.candidates = candidates
        self.first = first
        self.seconds = 0.0
        self._due: list[Architecture] | None = None

    def ask(self) -> Architecture:
        if self._due is None:
            self._due = self._ranked()[: self.first]
        return self._due.pop(0) if self._due else self.inner.ask()

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self.inner.tell(arch, measurement)

    def _ranked(self) -> list[Architecture]:
        order, drawn = Shuffled(self.space, self.seed), list[Architecture]()
        seen: set[Architecture] = set()
        while len(drawn) < self.candidates:
            try:
                arch = order.next(seen)
            except Exhausted:
                break
            seen.add(arch)
            drawn.append(arch)
        from scipy.stats import rankdata

        scores = [self.scorer.evaluate(arch, seed=self.seed) for arch in drawn]
        self.seconds += sum(score.cost.seconds for score in scores)
        names = sorted({name for score in scores for name in score.metrics})
        table = np.array([[s.metrics.get(name, -np.inf) for name in names] for s in scores])
        if not names:
            return drawn
        total = rankdata(table, axis=0).sum(axis=1)
        return [drawn[i] for i in np.argsort(-total, kind="stable").tolist()]

    def _own_state(self) -> dict[str, Any]:
        due = None if self._due is None else [pack(a) for a in self._due]
        return {"due": due, "seconds": self.seconds}

    def _restore_own(self, state: dict[str, Any]) -> None:
        due = state["due"]
        self._due = None if due is None else [unpack(self.space, a) for a in due]
        self.seconds = state["seconds"]


def remembered(measurement: Measurement) -> Measurement:
    """Return what a state keeps: no curve, and only finite metrics, which JSON can hold.

    A metric that is missing and one that is NaN are the same to an `Objective`: no result.
    """
    metrics = {name: value for name, value in measurement.metrics.items() if isfinite(value)}
    return replace(measurement, metrics=metrics, curve=())


def mean(measurements: list[Measurement]) -> Measurement:
    """Return the mean of the measurements that did not fail, at the cost of all of them."""
    cost = Cost(
        sum(m.cost.seconds for m in measurements),
        sum(m.cost.epochs for m in measurements),
        measurements[-1].cost.device,
    )
    good = [m for m in measurements if m.status != "failed"]
    if not good:
        return replace(measurements[-1], cost=cost)
    shared = set.intersection(*(set(m.metrics) for m in good))
    metrics = {k: sum(m.metrics[k] for m in good) / len(good) for k in sorted(shared)}
    return Measurement(metrics, cost)
