"""Halving, Hyperband, ASHA and BOHB: who is asked for with how many epochs."""

from __future__ import annotations

import json
from collections import Counter
from typing import ClassVar

import numpy as np
import pytest

import transnas as tn
from transnas import InputError
from transnas.evaluation import Cost, Evaluator, Measurement, Objective
from transnas.spaces import Architecture, get
from transnas.strategies import Exhausted, Strategy, create, multifidelity
from transnas.strategies._rungs import brackets, rungs
from transnas.strategies.multifidelity import Brackets, MultiFidelity
from transnas.strategies.random import Random
from transnas.testing.strategies import Tiny

SCORE = (Objective("validation_accuracy"),)
SPACE = get("transnas101-micro")
NAMES = ("successive-halving", "hyperband", "asha", "bohb")


def quality(arch: Architecture) -> float:
    return (sum(v == 3 for v in arch.values) - sum(v == 0 for v in arch.values)) / 6


class Curves(Evaluator):
    """Learning curves that approach `quality` as 1 / epochs, from below; a second an epoch."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        epochs = 27 if budget is None else budget
        value = quality(arch) - 0.3 / epochs + 1e-9 * (seed % 1000)
        return Measurement({"validation_accuracy": value}, Cost(float(epochs), epochs, "simulated"))


def play(strategy: Strategy, asks: int) -> list[tuple[Architecture, int]]:
    found = []
    for _ in range(asks):
        arch = strategy.ask()
        epochs = strategy.budget(arch)
        assert epochs is not None
        found.append((arch, epochs))
        strategy.tell(arch, Curves().evaluate(arch, epochs))
    return found


def test_brackets_are_those_of_the_paper() -> None:
    table = brackets(1, 81, 3)
    assert [b[0] for b in table] == [(81, 1), (34, 3), (15, 9), (8, 27), (5, 81)]
    assert table[0] == [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)]
    assert table[1] == [(34, 3), (11, 9), (3, 27), (1, 81)]
    assert rungs(27, 1, 27, 3) == [(27, 1), (9, 3), (3, 9), (1, 27)]
    assert [e for _, e in rungs(27, 1, 50, 3)] == [2, 6, 17, 50]
    assert [rung.epochs for rung in create("asha", SPACE, max_epochs=50)._rungs()] == [2, 6, 17, 50]  # type: ignore[attr-defined]
    assert rungs(16, 12, 200, 16) == [(16, 12), (1, 200)]  # what NAS-Bench-201's table has


@pytest.mark.parametrize("count", [1, 2, 9, 20, 26, 28])
def test_a_round_of_any_size_ends_in_a_full_training(count: int) -> None:
    epochs = [e for _, e in rungs(count, 1, 27, 3)]
    assert epochs == [1, 3, 9, 27]
    strategy = create("successive-halving", SPACE, 0, SCORE, architectures=count)
    sizes = [max(count // 3**i, 1) for i in range(4)]
    asked = play(strategy, sum(sizes))
    assert [e for _, e in asked] == [
        e for e, n in zip(epochs, sizes, strict=True) for _ in range(n)
    ]
    assert quality(asked[-1][0]) == max(quality(arch) for arch, _ in asked)


def test_halving_gives_the_best_third_three_times_the_epochs() -> None:
    strategy = create("successive-halving", SPACE, 0, SCORE)
    asked = play(strategy, 27 + 9 + 3 + 1)
    assert Counter(epochs for _, epochs in asked) == {1: 27, 3: 9, 9: 3, 27: 1}
    place = 0
    for count in (27, 9, 3):
        rung = [arch for arch, _ in asked[place : place + count]]
        following = [arch for arch, _ in asked[place + count : place + count + count // 3]]
        left = set(rung) - set(following)
        assert set(following) <= set(rung)
        assert min(map(quality, following)) >= max(map(quality, left))
        place += count
    spent = sum(epochs for _, epochs in asked)
    assert spent == 4 * 27  # the same for each rung


def test_hyperband_spends_the_same_on_each_bracket_and_goes_round() -> None:
    strategy = create("hyperband", SPACE, 0, SCORE, max_epochs=9)
    sizes = [size for bracket in brackets(1, 9, 3) for size in bracket]
    asked = play(strategy, 2 * sum(count for count, _ in sizes))
    expected: Counter[int] = Counter()
    for count, epochs in sizes:
        expected[epochs] += 2 * count
    assert Counter(epochs for _, epochs in asked) == expected


def test_asha_never_promotes_twice_and_never_out_of_turn() -> None:
    strategy = create("asha", SPACE, 0, SCORE)
    rewards: dict[int, dict[Architecture, float]] = {1: {}, 3: {}, 9: {}, 27: {}}
    promoted: set[tuple[Architecture, int]] = set()
    for _ in range(120):
        arch = strategy.ask()
        epochs = strategy.budget(arch)
        assert epochs is not None
        if epochs > 1:
            below = rewards[epochs // 3]
            better = sum(reward > below[arch] for reward in below.values())
            assert better < len(below) // 3
            assert (arch, epochs) not in promoted
            promoted.add((arch, epochs))
        measured = Curves().evaluate(arch, epochs)
        rewards[epochs][arch] = measured.metrics["validation_accuracy"]
        strategy.tell(arch, measured)
    assert len(promoted) > 30


def test_asha_promotes_what_is_known_and_the_highest_first() -> None:
    strategy = create("asha", SPACE, 0, SCORE)

    def tell(archs: list[Architecture]) -> None:
        for arch in archs:
            strategy.tell(arch, Curves().evaluate(arch, strategy.budget(arch)))

    first = [strategy.ask() for _ in range(12)]
    tell(first[:2])
    new = strategy.ask()
    assert strategy.budget(new) == 1, "two results of 12 are no third"
    tell([*first[2:8], new])
    second = [strategy.ask() for _ in range(3)]
    assert [strategy.budget(arch) for arch in second] == [3] * 3
    tell([*second, *first[8:]])
    assert strategy.budget(strategy.ask()) == 9, "though another is due for 3"
    assert strategy.budget(strategy.ask()) == 3


@pytest.mark.parametrize("again", [False, True])
def test_failures_are_not_promoted_and_a_round_ends_without_them(again: bool) -> None:
    strategy = create("successive-halving", SPACE, 0, SCORE, architectures=9, max_epochs=9)
    asked = []
    for i in range(12):
        arch = strategy.ask()
        asked.append((arch, strategy.budget(arch)))
        failed = i < 9 and i not in (3, 7)
        told = Measurement.failed("oom") if failed else Curves().evaluate(arch, asked[-1][1])
        strategy.tell(arch, told)
        if again:
            state = json.loads(json.dumps(strategy.state(), allow_nan=False))
            strategy = create("successive-halving", SPACE, 0, SCORE, architectures=9, max_epochs=9)
            strategy.restore(state)
        assert strategy.budget(arch) == 9, "nobody waits for it"
    assert [epochs for _, epochs in asked] == [1] * 9 + [3, 3, 9]
    good = {asked[3][0], asked[7][0]}
    assert {arch for arch, _ in asked[9:11]} == good
    assert asked[11][0] == max(good, key=quality)


@pytest.mark.parametrize("workers", [1, 3])
def test_asha_ends_in_a_full_training_also_in_a_small_space(workers: int) -> None:
    strategy = create("asha", Tiny(), 0, SCORE)
    waiting: list[Architecture] = []
    told: list[tuple[int, float]] = []
    while True:
        try:
            while len(waiting) < workers:
                waiting.append(strategy.ask())
        except Exhausted:
            if not waiting:
                break
        arch = waiting.pop(0)
        told.append((strategy.budget(arch) or 0, float(sum(arch.values))))
        strategy.tell(arch, Measurement({"validation_accuracy": told[-1][1]}))
    assert Counter(epochs for epochs, _ in told)[1] == Tiny().size < 27
    assert [value for epochs, value in told if epochs == 27] == [max(v for _, v in told)]


@pytest.mark.parametrize("name", NAMES)
def test_many_workers_wait_for_nobody(name: str) -> None:
    strategy = create(name, SPACE, 0, SCORE, max_epochs=9)
    waiting: list[Architecture] = []
    rng = np.random.default_rng(0)
    for _ in range(200):
        arch = strategy.ask()
        assert arch not in waiting
        waiting.append(arch)
        if len(waiting) >= 10:
            done = waiting.pop(int(rng.integers(len(waiting))))
            failed = rng.random() < 0.2
            told = Measurement.failed("oom") if failed else Curves().evaluate(done, 1)
            strategy.tell(done, told)


@pytest.mark.parametrize("name", NAMES)
def test_a_restored_strategy_continues_exactly(name: str) -> None:
    strategy = create(name, SPACE, 5, SCORE, max_epochs=9)
    play(strategy, 37)
    open_ask = strategy.ask()
    other = create(name, SPACE, 5, SCORE, max_epochs=9)
    other.restore(json.loads(json.dumps(strategy.state(), allow_nan=False)))
    assert other.budget(open_ask) == strategy.budget(open_ask)
    for s in (strategy, other):
        s.tell(open_ask, Measurement.failed("oom"))
    assert play(other, 20) == play(strategy, 20)


def test_a_space_smaller_than_a_bracket_is_searched_to_the_end() -> None:
    strategy = create("successive-halving", Tiny(), 0, SCORE)
    asked = play(strategy, 6 + 2 + 1)
    assert Counter(epochs for _, epochs in asked) == {1: 6, 3: 2, 9: 1}


class Listening(Random):
    """Keeps what it is told before it is asked."""

    heard: ClassVar[list[dict[Architecture, float]]] = []

    def ask(self) -> Architecture:
        self.heard.append(dict(self.mine))
        return super().ask()

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self.mine = {**getattr(self, "mine", {}), arch: self.objective.reward(measurement)}
        super().tell(arch, measurement)


def test_the_model_of_bohb_is_of_the_largest_budget_with_enough_results(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        multifidelity, "create", lambda name, space, seed, *_: Listening(space, seed, SCORE)
    )
    monkeypatch.setattr(Listening, "heard", [])
    strategy = create("bohb", SPACE, 0, SCORE, random_fraction=0.0)
    told: dict[int, dict[Architecture, float]] = {1: {}, 3: {}, 9: {}, 27: {}}
    wanted, asked = [], set[Architecture]()
    for i in range(120):
        before = len(Listening.heard)
        known = {e: {a: r for a, r in rung.items() if r > 0} for e, rung in told.items()}
        arch = strategy.ask()
        epochs = strategy.budget(arch)
        assert epochs is not None
        if arch not in asked and max(map(len, known.values())) >= 12:
            wanted.append(known[max(e for e, rung in known.items() if len(rung) >= 12)])
            assert Listening.heard[before:] == wanted[-1:]
        else:
            assert len(Listening.heard) == before, "no model, or a promotion"
        asked.add(arch)
        failed = i % 7 == 3
        measured = Measurement.failed("oom") if failed else Measurement(
            {"validation_accuracy": 1.0 + quality(arch) + epochs / 100}
        )  # fmt: skip
        told[epochs][arch] = 0.0 if failed else measured.metrics["validation_accuracy"]
        strategy.tell(arch, measured)
    assert len(wanted) > 20
    budgets = {round(100 * (r - 1 - quality(a))) for model in wanted for a, r in model.items()}
    assert len(budgets) > 1


@pytest.mark.parametrize(("fraction", "models"), [(0.0, 40), (1.0, 0)])
def test_a_fraction_of_new_architectures_is_drawn_at_random(
    fraction: float, models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []
    monkeypatch.setattr(MultiFidelity, "_modelled", lambda self: called.append(1))
    strategy = create("bohb", SPACE, 0, SCORE, random_fraction=fraction)
    for _ in range(40):
        strategy.ask()
    assert len(called) == models
    monkeypatch.setattr(MultiFidelity, "_modelled", lambda self: SPACE.at(5))
    told = create("bohb", SPACE, 0, SCORE, random_fraction=fraction)
    told.tell(SPACE.at(5), Curves().evaluate(SPACE.at(5), 1))
    assert SPACE.at(5) not in [told.ask() for _ in range(9)]
    asked = [strategy.ask() for _ in range(9)]
    assert len(set(asked)) == 9, "what is under way is not asked for again"


def test_the_model_of_bohb_leads_to_better_architectures() -> None:
    means = {}
    for name in ("bohb", "hyperband"):
        asked = [
            a
            for seed in range(3)
            for a, e in play(create(name, SPACE, seed, SCORE), 200)[100:]
            if e == 1
        ]
        means[name] = np.mean([quality(a) for a in asked])
    assert means["bohb"] > means["hyperband"] + 0.05


def test_studies_record_what_was_stopped_and_pay_for_every_training() -> None:
    """The study records what was stopped as pruned, and pays for every training in full."""
    study = tn.search("digits", SPACE, "successive-halving", 40, storage="memory://",
                      evaluator=Curves())  # fmt: skip
    status = Counter((t.status, t.measurement.cost.epochs) for t in study.trials)
    assert status == {("pruned", 1): 27, ("pruned", 3): 9, ("pruned", 9): 3, ("complete", 27): 1}
    assert study.best is not None
    assert study.best.measurement.cost.epochs == 27
    assert sum(t.measurement.cost.seconds for t in study.trials) == 4 * 27


def test_a_promoted_architecture_keeps_its_seed_also_in_a_resumed_study(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    given = {"storage": url, "evaluator": Curves(), "name": "halved"}
    tn.search("digits", SPACE, "successive-halving", 30, **given)
    study = tn.search("digits", SPACE, "successive-halving", 40, **given)
    whole = tn.search("digits", SPACE, "successive-halving", 40, storage="memory://",
                      evaluator=Curves())  # fmt: skip
    assert [t.architecture for t in study.trials] == [t.architecture for t in whole.trials]
    assert [dict(t.metrics) for t in study.trials] == [dict(t.metrics) for t in whole.trials]
    noise: dict[Architecture, set[int]] = {}
    for trial in whole.trials:
        value = trial.metrics["validation_accuracy"] - quality(trial.architecture)
        extra = round((value + 0.3 / trial.measurement.cost.epochs) * 1e9)
        noise.setdefault(trial.architecture, set()).add(extra)
    assert all(len(found) == 1 for found in noise.values())


def test_epochs_beside_budgets_and_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="epochs 5 are given, but strategy 'asha' chooses"):
        tn.search("digits", "nasbench201", "asha", 3, storage="memory://", epochs=5)
    for settings, match in (
        ({"max_epochs": 2, "min_epochs": 3}, "'max_epochs' is 2; accepted"),
        ({"eta": 1}, "'eta' is 1; accepted"),
        ({"sampler": "hyperband"}, "'sampler' is 'hyperband'; accepted"),
        ({"sampler": "bananas"}, "strategy 'bananas' is unknown"),
    ):
        with pytest.raises(InputError, match=match):
            create("hyperband", SPACE, **settings)
    assert issubclass(tn.strategies.get("hyperband"), Brackets)
