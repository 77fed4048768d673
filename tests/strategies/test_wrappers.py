"""Wrappers: what the strategy inside gets to hear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from transnas import InputError
from transnas.evaluation import Cost, Evaluator, Measurement, Objective
from transnas.spaces import Architecture, Space, get
from transnas.strategies import (
    Averaged,
    Deduplicated,
    Exhausted,
    Retrying,
    Strategy,
    WarmStarted,
    Wrapper,
    create,
)
from transnas.strategies._draws import Shuffled
from transnas.strategies.multifidelity import SuccessiveHalving
from transnas.tasks import Signature, Task
from transnas.testing.strategies import Tiny

SCORE = (Objective("score"),)


class Scripted(Strategy):
    """Proposes the cells of a list in turn, and keeps what it is told."""

    def __init__(self, space: Space, indices: list[int]) -> None:
        super().__init__(space, 0, SCORE)
        self.coming = [space.at(i) for i in indices]
        self.heard: list[tuple[Architecture, Measurement]] = []
        self.met: list[Task] = []

    def meet(self, task: Task) -> None:
        self.met.append(task)

    def ask(self) -> Architecture:
        if not self.coming:
            raise Exhausted
        return self.coming.pop(0)

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self.heard.append((arch, measurement))

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        pass


def scored(value: float, seconds: float = 0.0) -> Measurement:
    return Measurement({"score": value}, Cost(seconds))


def twins(space: Space) -> tuple[Architecture, Architecture]:
    """Return two different cells of one class."""
    first: dict[Architecture, Architecture] = {}
    for i in range(space.size):
        arch = space.at(i)
        if (other := first.setdefault(space.canonical(arch), arch)) != arch:
            return other, arch
    raise AssertionError


def test_twins_of_measured_architectures_cost_nothing() -> None:
    space = get("nasbench201")
    one, other = twins(space)
    alone = space.at(6111)
    inner = Scripted(space, [space.index(a) for a in (one, other, one, alone)])
    strategy = Deduplicated(inner)
    assert strategy.ask() == one
    strategy.tell(one, scored(3))
    assert strategy.ask() == alone
    assert [(a, m.metrics["score"]) for a, m in inner.heard] == [(one, 3), (other, 3), (one, 3)]


def test_twins_of_pending_architectures_wait_for_their_result() -> None:
    space = get("nasbench201")
    one, other = twins(space)
    inner = Scripted(space, [space.index(a) for a in (one, other, space.at(6111))])
    strategy = Deduplicated(inner)
    assert [strategy.ask(), strategy.ask()] == [one, space.at(6111)]
    strategy.tell(one, scored(2))
    assert [a for a, _ in inner.heard] == [one, other]


def test_what_is_remembered_of_a_measurement_is_short_and_finite() -> None:
    space = get("nasbench201")
    strategy = Deduplicated(Scripted(space, [5]))
    told = Measurement({"score": 1.0, "loss": float("nan")}, curve=({"loss": 2.0},))
    strategy.tell(strategy.ask(), told)
    ((*_, kept),) = json.loads(json.dumps(strategy.state(), allow_nan=False))["known"]
    assert (kept["metrics"], kept["curve"]) == ({"score": 1.0}, [])


def test_deduplicated_evolution_ends_when_every_class_was_tried() -> None:
    strategy = Deduplicated(create("regularized-evolution", Tiny(), 0, SCORE, population=2))
    found = []
    for value in range(6):
        found.append(strategy.ask())
        strategy.tell(found[-1], scored(value))
    with pytest.raises(Exhausted):
        strategy.ask()
    assert sorted(map(Tiny().index, found)) == list(range(6))


def test_a_promoted_architecture_is_measured_anew_with_its_epochs() -> None:
    """Each class is measured once for each number of epochs, and each rung hears of its own."""
    space = get("nasbench201")

    def made() -> tuple[SuccessiveHalving, Deduplicated]:
        inner = create("successive-halving", space, 0, SCORE)
        assert isinstance(inner, SuccessiveHalving)
        return inner, Deduplicated(inner)

    inner, strategy = made()
    measured = []
    for _ in range(60):
        arch = strategy.ask()
        epochs = strategy.budget(arch)
        assert epochs is not None
        measured.append((space.canonical(arch), epochs))
        strategy.tell(arch, scored(sum(arch.values) + epochs / 100))
        state = json.loads(json.dumps(strategy.state()))
        inner, strategy = made()
        strategy.restore(state)
    assert len(set(measured)) == len(measured)
    assert {epochs for _, epochs in measured} == {1, 3, 9, 27}
    for rung in inner._rungs():
        for reward in rung.rewards.values():
            assert round(100 * reward) % 100 == rung.epochs


def test_a_wrapper_is_asked_and_met_as_its_strategy_is() -> None:
    inner, task = Scripted(Tiny(), []), Task("any", Signature((1, 8, 8), 2))
    assert not Averaged(Deduplicated(inner)).inherits
    inner.inherits = True
    strategy = Averaged(Deduplicated(inner))
    assert strategy.inherits
    strategy.meet(task)
    assert inner.met == [task]


def test_failures_are_tried_again_before_they_are_told() -> None:
    inner = Scripted(Tiny(), [0, 1])
    strategy = Retrying(inner, attempts=3)
    first = strategy.ask()
    for _ in range(2):
        strategy.tell(first, Measurement.failed("out of memory"))
        assert strategy.ask() == first
    assert inner.heard == []
    strategy.tell(first, Measurement.failed("out of memory"))
    assert [(a, m.status) for a, m in inner.heard] == [(first, "failed")]
    assert strategy.ask() == Tiny().at(1)


def test_a_retry_that_succeeds_is_told_as_a_success() -> None:
    inner = Scripted(Tiny(), [0])
    strategy = Retrying(inner)
    arch = strategy.ask()
    strategy.tell(arch, Measurement.failed("a worker died"))
    strategy.tell(strategy.ask(), scored(1))
    assert [m.status for _, m in inner.heard] == ["complete"]


def test_the_mean_of_several_measurements_is_told() -> None:
    inner = Scripted(Tiny(), [4])
    strategy = Averaged(inner, times=3)
    results = [scored(1, seconds=2), Measurement.failed("NaN", Cost(5)), scored(4, seconds=3)]
    for result in results:
        strategy.tell(strategy.ask(), result)
    [(arch, told)] = inner.heard
    assert arch == Tiny().at(4)
    assert told.metrics == {"score": 2.5}
    assert told.cost.seconds == 10


def test_failures_alone_have_no_mean() -> None:
    inner = Scripted(Tiny(), [4])
    strategy = Averaged(inner, times=2)
    for _ in range(2):
        strategy.tell(strategy.ask(), Measurement.failed("NaN"))
    assert [m.error for _, m in inner.heard] == ["NaN"]


@pytest.mark.parametrize(("wrapper", "field"), [(Retrying, "attempts"), (Averaged, "times")])
def test_counts_below_one_are_refused(wrapper: type[Wrapper], field: str) -> None:
    with pytest.raises(InputError, match=f"{field} 0 is not accepted"):
        wrapper(Scripted(Tiny(), []), **{field: 0})


@pytest.mark.parametrize("name", ["deduplicated", "retrying", "averaged", "warm"])
def test_a_wrapper_restored_before_every_call_goes_on_as_it_would_have(name: str) -> None:
    space = get("nasbench201")

    def made() -> Strategy:
        inner = create("regularized-evolution", space, 0, SCORE, population=3, sample=2)
        if name == "warm":
            return WarmStarted(inner, Scorer(), candidates=20, first=4)
        return {"deduplicated": Deduplicated, "retrying": Retrying, "averaged": Averaged}[name](
            inner
        )

    def played(again: bool) -> list[Architecture]:
        strategy, asked, waiting = made(), list[Architecture](), list[Architecture]()
        for i in range(40):
            if again:
                state = json.loads(json.dumps(strategy.state()))
                strategy = made()
                strategy.restore(state)
            if len(waiting) < 3 and i % 5 < 3:
                waiting.append(strategy.ask())
                asked.append(waiting[-1])
            elif waiting:
                arch = waiting.pop(0)
                failed = (sum(arch.values) + i // 7) % 2 == 0
                told = Measurement.failed("NaN") if failed else scored(sum(arch.values) + i / 99)
                strategy.tell(arch, told)
        if isinstance(strategy, WarmStarted):
            assert strategy.seconds == 10.0
        return asked

    assert played(True) == played(False)


def test_failures_of_the_past_are_forgotten_with_their_end() -> None:
    inner = Scripted(Tiny(), [0, 0])
    strategy = Retrying(inner, attempts=2)
    for _ in range(2):
        for _ in range(2):
            strategy.tell(strategy.ask(), Measurement.failed("out of memory"))
    assert [m.status for _, m in inner.heard] == ["failed"] * 2


def test_retries_come_in_the_order_of_their_failures() -> None:
    strategy = Retrying(Scripted(Tiny(), [0, 1]))
    asked = [strategy.ask(), strategy.ask()]
    for arch in asked:
        strategy.tell(arch, Measurement.failed("out of memory"))
    assert [strategy.ask(), strategy.ask()] == asked


def test_a_mean_is_of_the_metrics_that_all_have_and_costs_what_all_cost() -> None:
    parts = [
        Measurement({"score": 1.0, "extra": 5.0}, Cost(1.0, 2)),
        Measurement({"score": 2.0, "loss": float("nan")}, Cost(2.0, 3)),
        Measurement.failed("NaN", Cost(4.0, 1)),
    ]
    inner = Scripted(Tiny(), [4])
    strategy = Averaged(inner)
    for part in parts:
        strategy.tell(strategy.ask(), part)
    [(_, told)] = inner.heard
    assert told.metrics == {"score": 1.5}
    assert (told.cost.seconds, told.cost.epochs) == (7.0, 6)


class Disagreeing(Evaluator):
    """Of three proxies, one is much larger than the others and orders the other way round.

    All are below zero; one architecture in three cannot be scored.
    """

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        value = get("nasbench201").index(arch) - 20_000.0
        if value % 3 == 0:
            return Measurement.failed("no gradient")
        return Measurement({"a": value, "b": value**3, "c": -(10.0**9) * (value + 30_000)})


def test_a_warm_start_compares_ranks_and_not_sizes_of_proxies() -> None:
    space = get("nasbench201")
    strategy = WarmStarted(create("random", space, 0), Disagreeing(), candidates=9, first=9)
    asked = [space.index(strategy.ask()) for _ in range(9)]
    known = [i for i in asked if (i - 20_000) % 3]
    assert 3 < len(known) < 9
    assert asked[: len(known)] == known == sorted(known, reverse=True)


class Scorer(Evaluator):
    """Two proxies; one architecture in four cannot be scored."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        if arch.values[0] == 0:
            return Measurement.failed("no gradient", Cost(0.5))
        total = float(sum(arch.values))
        return Measurement({"a": total, "b": 100 * total}, Cost(0.5))


def test_a_warm_start_begins_with_what_scores_best_and_goes_on_as_before() -> None:
    space = get("nasbench201")
    inner = create("regularized-evolution", space, 0, population=3)
    strategy = WarmStarted(inner, Scorer(), candidates=50, first=5)
    asked = [strategy.ask() for _ in range(5)]
    drawn, order = set(), Shuffled(space, 0)
    for _ in range(50):
        drawn.add(order.next(drawn))
    scored = sorted((sum(a.values) if a.values[0] else -1 for a in drawn), reverse=True)
    assert [sum(a.values) for a in asked] == scored[:5]
    assert strategy.seconds == 25.0
    for arch in asked:
        strategy.tell(arch, Measurement({"validation_accuracy": float(sum(arch.values))}))
    restored = WarmStarted(create("regularized-evolution", space, 0, population=3), Scorer())
    restored.restore(json.loads(json.dumps(strategy.state())))
    child = strategy.ask()
    assert child == restored.ask()
    assert any(child in space.neighbours(parent) for parent in asked)
