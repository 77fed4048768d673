"""Strategies that ask for architectures with a budget: halving, Hyperband, ASHA, BOHB.

Every proposal has a number of epochs (`Strategy.budget`). A study records what was stopped before
the full budget as `pruned`, with its metrics and its cost; only full trainings count as results.
A promoted architecture is trained anew with the larger budget, and that training is paid for: with
a learning rate that falls to zero over the budget, a short training is no beginning of a long one.

Sources: successive halving: Jamieson & Talwalkar, AISTATS 2016; Hyperband: Li et al., JMLR 2018;
ASHA: Li et al., "A System for Massively Parallel Hyperparameter Tuning", MLSys 2020; BOHB: Falkner,
Klein & Hutter, ICML 2018.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

from transnas._errors import InputError
from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._base import Exhausted, Strategy
from transnas.strategies._draws import Shuffled, packed, unpack
from transnas.strategies._registry import create, get, register
from transnas.strategies._rungs import Bracket, Rung, brackets, halvings, rungs
from transnas.strategies.settings import check_range

__all__ = ["ASHA", "BOHB", "BudgetSettings", "Hyperband", "MultiFidelity", "SuccessiveHalving"]

_ENOUGH = 12
"""Results of one budget that a model needs at least; samplers are random up to about 10."""


@dataclass(frozen=True)
class BudgetSettings:
    """Settings of strategies with budgets."""

    min_epochs: int = 1
    """Least epochs of a training; the lowest rung has `max_epochs` / `eta`^k, no less than this."""
    max_epochs: int = 27
    """Epochs of a full training."""
    eta: int = 3
    """One of so many goes on, with so many times the epochs."""
    sampler: str = "random"
    """Strategy that proposes new architectures, from the results at the highest budget that has
    enough of them."""

    def __post_init__(self) -> None:
        check_range(self, "min_epochs", least=1)
        if self.max_epochs < self.min_epochs:
            raise InputError(
                f"setting 'max_epochs' is {self.max_epochs}; accepted: min_epochs "
                f"({self.min_epochs}) or more"
            )
        check_range(self, "eta", least=2)


@dataclass(frozen=True)
class HalvingSettings(BudgetSettings):
    """Settings of successive halving."""

    architectures: int = 27
    """Architectures that a round begins with."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "architectures", least=1)


@dataclass(frozen=True)
class BOHBSettings(BudgetSettings):
    """Settings of BOHB."""

    sampler: str = "tpe"
    """Strategy that proposes new architectures, from the results at the highest budget that has
    enough of them."""
    random_fraction: float = 1 / 3
    """Share of new architectures that are random whatever the model says."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "random_fraction", least=0, most=1)


class MultiFidelity(Strategy):
    """Rungs of architectures with equal epochs; a subclass says who goes on to the next.

    An architecture is new once; after that it is asked for again only to be promoted. What was
    not asked for is taken note of, and not proposed.
    """

    Settings = BudgetSettings

    def _begin(self) -> None:
        if issubclass(get(self.settings.sampler), MultiFidelity):
            raise InputError(
                f"setting 'sampler' is {self.settings.sampler!r}; accepted: a strategy without "
                "budgets of its own"
            )
        create(self.settings.sampler, self.space, 0, self.objectives)  # refuses this space
        self._order = Shuffled(self.space, self.seed)
        self._seen: set[Architecture] = set()
        self._pending: dict[Architecture, Rung] = {}

    @property
    def full_budget(self) -> int | None:
        epochs: int = self.settings.max_epochs
        return epochs

    def budget(self, arch: Architecture) -> int | None:
        rung = self._pending.get(arch)
        return self.full_budget if rung is None else rung.epochs

    def ask(self) -> Architecture:
        arch, rung = self._next()
        rung.asked.append(arch)
        self._seen.add(arch)
        self._pending[arch] = rung
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._seen.add(arch)
        rung = self._pending.pop(arch, None)
        if rung is not None:
            reward = self.objective.reward(measurement)
            rung.rewards[arch] = -math.inf if math.isnan(reward) else reward

    @abstractmethod
    def _next(self) -> tuple[Architecture, Rung]:
        """Return the next architecture and its rung; raises `Exhausted`."""

    @abstractmethod
    def _rungs(self) -> list[Rung]:
        """Return every rung, in a fixed order."""

    # New architectures ----------------------------------------------------------------------

    def _random_fraction(self) -> float:
        return 0.0

    def _new(self) -> Architecture:
        """Return an architecture that was not asked for; raises `Exhausted`."""
        if self.settings.sampler != "random" and self.stream.uniform() >= self._random_fraction():
            arch = self._modelled()
            if arch is not None and arch not in self._seen:
                return arch
        return self._order.next(self._seen)

    def _modelled(self) -> Architecture | None:
        """Return what the sampler proposes after the results of one budget; None: too few."""
        by_epochs: dict[int, list[tuple[Architecture, float]]] = {}
        for rung in self._rungs():
            told = [(a, r) for a, r in rung.rewards.items() if r > -math.inf]
            by_epochs.setdefault(rung.epochs, []).extend(told)
        enough = max(_ENOUGH, len(self.space.choices) + len(self.space.ranges) + 2)
        rich = [epochs for epochs, told in by_epochs.items() if len(told) >= enough]
        if not rich:
            return None
        sampler = create(self.settings.sampler, self.space, self.stream.bits() >> 33)
        metric = sampler.objective.metric
        for arch, reward in by_epochs[max(rich)]:
            sampler.tell(arch, Measurement({metric: reward}))
        try:
            return sampler.ask()
        except Exhausted:
            return None

    # State ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        found = self._rungs()
        return {
            "stream": self.stream.position,
            "order": self._order.position,
            "seen": packed(self._seen),
            "rungs": [rung.to_json() for rung in found],
            **self._own_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        self._order.position = state["order"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}
        rungs_ = [Rung.from_json(self.space, data) for data in state["rungs"]]
        self._restore_own(state, rungs_)
        self._pending = {a: r for r in rungs_ for a in r.asked if a not in r.rewards}

    def _own_state(self) -> dict[str, Any]:
        return {}

    @abstractmethod
    def _restore_own(self, state: dict[str, Any], found: list[Rung]) -> None:
        """Take the rungs of a state."""


class Brackets(MultiFidelity):
    """Brackets one after another; a further one is begun while the others wait for results."""

    def _begin(self) -> None:
        super()._begin()
        self._brackets: list[Bracket] = []

    @abstractmethod
    def _sizes(self, number: int) -> list[tuple[int, int]]:
        """Return the rungs of bracket `number`."""

    def _next(self) -> tuple[Architecture, Rung]:
        due = self._promotion()
        if due is not None:
            return due
        if not any(b.has_room for b in self._brackets):
            self._brackets.append(Bracket(self._sizes(len(self._brackets))))
        bracket = next(b for b in self._brackets if b.has_room)
        try:
            return self._new(), bracket.rungs[0]
        except Exhausted:
            if bracket.rungs[0].asked:
                bracket.close(self.settings.eta)
            else:
                self._brackets.remove(bracket)
            due = self._promotion()
            if due is None:
                raise
            return due

    def _promotion(self) -> tuple[Architecture, Rung] | None:
        for bracket in self._brackets:
            due = bracket.promotion()
            if due is not None:
                return due
        return None

    def _rungs(self) -> list[Rung]:
        return [rung for bracket in self._brackets for rung in bracket.rungs]

    def _own_state(self) -> dict[str, Any]:
        return {"brackets": [len(bracket.rungs) for bracket in self._brackets]}

    def _restore_own(self, state: dict[str, Any], found: list[Rung]) -> None:
        self._brackets, place = [], 0
        for count in state["brackets"]:
            bracket = Bracket([])
            bracket.rungs = found[place : place + count]
            self._brackets.append(bracket)
            place += count


@register("successive-halving")
class SuccessiveHalving(Brackets):
    """Rounds of `architectures`, of which one in `eta` goes on with `eta` times the epochs."""

    Settings = HalvingSettings

    def _sizes(self, number: int) -> list[tuple[int, int]]:
        s = self.settings
        return rungs(s.architectures, s.min_epochs, s.max_epochs, s.eta)


@register("hyperband")
class Hyperband(Brackets):
    """Successive halving from few architectures with many epochs to many with few, in turn."""

    def _sizes(self, number: int) -> list[tuple[int, int]]:
        s = self.settings
        kinds = brackets(s.min_epochs, s.max_epochs, s.eta)
        return kinds[number % len(kinds)]


@register("bohb")
class BOHB(Hyperband):
    """Hyperband whose new architectures come from a model of the results (by default TPE).

    The model sees the highest budget that has more results than the space has dimensions.
    Deviation from the source: Optuna's TPE in place of one kernel density over all dimensions.
    """

    Settings = BOHBSettings

    def _random_fraction(self) -> float:
        fraction: float = self.settings.random_fraction
        return fraction


@register("asha")
class ASHA(MultiFidelity):
    """Asynchronous halving: whoever is in the best 1 / `eta` of a rung so far goes on at once.

    When nothing new is left and nobody is due, the best of each rung goes on to a rung that has no
    result, so that a search of a small space ends in a full training too.
    """

    def _begin(self) -> None:
        super()._begin()
        s = self.settings
        steps = halvings(s.min_epochs, s.max_epochs, s.eta)
        epochs = [round(s.max_epochs / s.eta**i) for i in range(steps, -1, -1)]
        self._ladder = [Rung(0, count) for count in epochs]

    def _next(self) -> tuple[Architecture, Rung]:
        pairs = list(zip(self._ladder, self._ladder[1:], strict=False))
        for below, above in reversed(pairs):
            due = _due(below, above, len(below.rewards) // self.settings.eta)
            if due is not None:
                return due
        try:
            return self._new(), self._ladder[0]
        except Exhausted:
            if self._pending:  # their results may bring a promotion
                raise
            for below, above in pairs:
                due = None if above.best(1) else _due(below, above, len(below.asked))
                if due is not None:
                    return due
            raise

    def _rungs(self) -> list[Rung]:
        return self._ladder

    def _restore_own(self, state: dict[str, Any], found: list[Rung]) -> None:
        self._ladder = found


def _due(below: Rung, above: Rung, count: int) -> tuple[Architecture, Rung] | None:
    """Return the first of the `count` best of a rung that the rung above has not had, if any."""
    return next(((a, above) for a in below.best(count) if a not in above.asked), None)
