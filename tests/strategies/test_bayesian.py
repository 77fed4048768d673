"""Bayesian optimisation as a strategy."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

pytest.importorskip("gpytorch", reason="needs the extra bo")

from transnas import InputError, spaces
from transnas.evaluation import Cost, Measurement, Objective
from transnas.spaces import Architecture, Space
from transnas.strategies import Exhausted, Strategy, create
from transnas.strategies.bayesian import BayesianOptimisation, BayesianSettings
from transnas.testing.functions import (
    SCORE,
    Branin,
    Hartmann6,
    MixedToy,
    anytime,
    branin,
    hartmann6,
    mixed_toy,
    play,
)
from transnas.testing.strategies import (
    Factory,
    Mixed,
    StrategyContract,
    Tiny,
    VariableDepth,
)

QUICK = BayesianSettings(start=3, choices="hamming", fantasies=2)


def quick(space: Space, seed: int, objectives: Sequence[Objective]) -> Strategy:
    return BayesianOptimisation(space, seed, objectives, QUICK)


@pytest.mark.slow
class TestOnTiny(StrategyContract):
    @pytest.fixture
    def factory(self) -> Factory:
        return quick

    @pytest.fixture
    def space(self) -> Space:
        return Tiny()


@pytest.mark.parametrize("space", [spaces.get("nasbench201"), VariableDepth(), Mixed()])
def test_a_restored_strategy_continues_with_the_same_model(space: Space) -> None:
    def value(arch: Architecture) -> float:
        return sum(arch.values) + sum(arch.numbers)

    strategy = create("bo", space, 3, SCORE, start=3)
    play(strategy, value, 5)
    strategy.ask()
    other = create("bo", space, 3, SCORE, start=3)
    other.restore(json.loads(json.dumps(strategy.state(), allow_nan=False)))
    assert [strategy.ask() for _ in range(2)] == [other.ask() for _ in range(2)]


def test_it_is_better_than_random_on_branin() -> None:
    searched = [anytime(create("bo", Branin(), s, SCORE), branin, 26)[-1] for s in range(2)]
    drawn = [anytime(create("random", Branin(), s, SCORE), branin, 26)[-1] for s in range(10)]
    assert min(searched) > -0.05
    assert np.mean(searched) > np.mean(drawn) + 0.1


@pytest.mark.slow
def test_it_reaches_the_optimum_of_hartmann6() -> None:
    found = [anytime(create("bo", Hartmann6(), s, SCORE), hartmann6, 60)[-1] for s in range(2)]
    assert max(found) > 3.15


@pytest.mark.parametrize(
    "optimiser", ["multistart", pytest.param("direct", marks=pytest.mark.slow)]
)
def test_it_tunes_numbers_together_with_the_architecture(optimiser: str) -> None:
    strategy = create("bo", MixedToy(), 0, SCORE, start=6, optimiser=optimiser)
    queries = 22
    searched = anytime(strategy, mixed_toy, queries)[-1]
    drawn = [
        anytime(create("random", MixedToy(), s, SCORE), mixed_toy, queries)[-1] for s in range(5)
    ]
    assert searched > max(0.8, np.mean(drawn))


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel": "se"},
        {"kernel": "ard", "acquisition": "ei"},
        {"kernel": "matern32", "acquisition": "ucb", "trade_off": 2.0},
        {"acquisition": "pi", "trade_off": 0.05},
        pytest.param({"hyperparameters": "marginal", "samples": 3}, marks=pytest.mark.slow),
        pytest.param({"per_second": True}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_every_setting_finds_good_points(settings: dict[str, Any]) -> None:
    strategy = create("bo", Branin(), 1, SCORE, start=6, **settings)
    assert anytime(strategy, branin, 22)[-1] > -2.0


def test_the_trade_off_moves_from_exploiting_to_exploring() -> None:
    def distance(kappa: float) -> float:
        strategy = create("bo", Branin(), 0, SCORE, start=10, acquisition="ucb", trade_off=kappa)
        known = play(strategy, branin, 10)
        best = max(known, key=branin)
        return math.dist(best.numbers, strategy.ask().numbers)

    assert distance(0.0) < distance(10.0)


def test_gp_ucb_is_ucb_with_a_rising_weight() -> None:
    """With Branin's two numbers, kappa after 10 and 11 results is 5.5 and 5.6."""
    scheduled = create("bo", Branin(), 0, SCORE, start=10, acquisition="gp-ucb")
    play(scheduled, branin, 10)
    for t in (10, 11):
        kappa = math.sqrt(2 * math.log(t**3 * math.pi**2 / 0.3))
        fixed = create("bo", Branin(), 0, SCORE, start=10, acquisition="ucb", trade_off=kappa)
        fixed.restore(scheduled.state())
        asked = scheduled.ask()
        assert fixed.ask() == asked
        scheduled.tell(asked, Measurement({"score": branin(asked)}))


@pytest.mark.slow
def test_per_second_it_prefers_cheap_architectures() -> None:
    """Two operations are equally good; one is a hundred times as dear."""
    space = MixedToy()

    def dear_share(per_second: bool) -> float:
        strategy = create("bo", space, 0, SCORE, start=8, per_second=per_second)
        asked = []
        for _ in range(14):
            asked.append(strategy.ask())
            dear = asked[-1].values[0] == 2
            score = mixed_toy(
                Architecture(space.name, (2, *asked[-1].values[1:]), asked[-1].numbers)
            )
            strategy.tell(asked[-1], Measurement({"score": score}, Cost(100.0 if dear else 1.0)))
        return float(np.mean([a.values[0] == 2 for a in asked[8:]]))

    assert dear_share(True) < 0.3 < 0.5 < dear_share(False)


def test_a_minimised_metric_is_minimised() -> None:
    strategy = create("bo", Branin(), 0, (Objective("score", maximise=False),), start=6)
    assert max(branin(a) for a in play(strategy, lambda a: -branin(a), 20)) > -1.0


# Bad observations -------------------------------------------------------------------------------

BAD = [
    Measurement.failed("out of memory"),
    Measurement({"score": math.nan}),
    Measurement({"score": math.inf}),
    Measurement({"score": -math.inf}),
    Measurement({}),
]


def test_bad_observations_rule_out_and_teach_nothing() -> None:
    strategy = create("bo", spaces.get("nasbench201"), 0, SCORE, start=3)
    asked = []
    for i in range(12):
        asked.append(strategy.ask())
        good = Measurement({"score": float(sum(asked[-1].values))})
        strategy.tell(asked[-1], BAD[i % len(BAD)] if i % 2 else good)
    assert len(set(asked)) == len(asked)
    assert all(map(math.isfinite, strategy.state()["rewards"]))


def test_constant_and_repeated_observations_do_not_stop_it() -> None:
    strategy = create("bo", Branin(), 0, SCORE, start=3)
    first = strategy.ask()
    for _ in range(6):
        strategy.tell(first, Measurement({"score": 0.7}))
    asked = play(strategy, lambda _: 0.7, 6)
    assert len(set(asked)) == 6


def test_an_outlier_does_not_hide_the_rest() -> None:
    strategy = create("bo", Branin(), 0, SCORE, start=6)
    strategy.tell(Branin().architecture((), (0.0, 0.0)), Measurement({"score": -1e12}))
    assert anytime(strategy, branin, 22)[-1] > -1.0


def test_more_workers_than_candidates_get_each_once() -> None:
    strategy = create("bo", Tiny(), 0, SCORE, start=2)
    play(strategy, lambda a: float(sum(a.values)), 3)
    rest = [strategy.ask() for _ in range(3)]
    assert len(set(rest)) == 3
    with pytest.raises(Exhausted):
        strategy.ask()


def test_workers_are_kept_apart() -> None:
    strategy = create("bo", Branin(), 0, SCORE, start=8)
    play(strategy, branin, 12)
    batch = np.array([strategy.ask().numbers for _ in range(4)]) / 15
    apart = np.linalg.norm(batch[:, None] - batch[None], axis=-1)[np.triu_indices(4, 1)]
    assert apart.min() > 0.01


def test_two_objectives_are_refused_in_a_sentence() -> None:
    with pytest.raises(
        InputError, match=r"strategy 'bo' is given 2 objectives; accepted: 1, .*nsga2"
    ):
        create("bo", Tiny(), 0, (Objective("a"), Objective("b")))


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"kernel": "rbf"}, "setting 'kernel' value 'rbf' is unknown; accepted: ard"),
        ({"start": 0}, "setting 'start' is 0; accepted"),
        ({"trade_off": -1.0}, "setting 'trade_off' is -1.0; accepted"),
        ({"trade_off": math.nan}, "setting 'trade_off' is nan; accepted"),
        ({"trade_off": 1.0, "acquisition": "gp-ucb"}, "'trade_off' is 1.0; accepted with .*: 0$"),
        ({"per_second": True, "acquisition": "ucb"}, "'per_second' is True; accepted"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        create("bo", Tiny(), **settings)


def test_without_the_extra_the_install_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gpytorch", None)
    with pytest.raises(InputError, match=r"pip install 'transnas\[bo\]'"):
        create("bo", Tiny())
