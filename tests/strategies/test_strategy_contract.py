"""Every registered strategy, and every wrapper, under the common contract."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pytest

from transnas import InputError, spaces, strategies
from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.strategies import Averaged, Deduplicated, Retrying, Strategy
from transnas.testing.strategies import Factory, Mixed, StrategyContract, Tiny, VariableDepth

SLOW = {"bo", "optuna-gp"}
"""Strategies whose proposals take a tenth of a second or more; `bo` has tests of its own."""


LISTING = {"architecture-bo", "catch+", "store-transfer"}
"""Strategies that score every class of a space at every query: 4,930 of nasbench201, 1,229 of
its sister without pooling."""


def named(name: str, space: Space, seed: int, objectives: Sequence[Objective]) -> Strategy:
    return strategies.create(name, space, seed, objectives)


class TestRegistered(StrategyContract):
    @pytest.fixture(params=[n for n in strategies.names() if n not in SLOW])
    def factory(self, request: pytest.FixtureRequest) -> Factory:
        return partial(named, request.param)

    @pytest.fixture(params=["nasbench201", Tiny, VariableDepth, Mixed])
    def space(self, request: pytest.FixtureRequest, factory: partial[Strategy]) -> Space:
        if request.param != "nasbench201":
            made: Space = request.param()
            return made
        smaller = factory.args[0] in LISTING
        return spaces.get("transnas101-micro" if smaller else "nasbench201")


WRAPPERS: dict[str, Callable[[Strategy], Strategy]] = {
    "deduplicated": Deduplicated,
    "retrying": Retrying,
    "averaged": partial(Averaged, times=2),
    "nested": lambda inner: Averaged(Retrying(Deduplicated(inner), attempts=3), times=2),
}


class TestWrapped(StrategyContract):
    @pytest.fixture(
        params=["local-search", "random", "regularized-evolution", "successive-halving"]
    )
    def inner(self, request: pytest.FixtureRequest) -> str:
        name: str = request.param
        return name

    @pytest.fixture(params=WRAPPERS)
    def factory(self, request: pytest.FixtureRequest, inner: str) -> Factory:
        wrap = WRAPPERS[request.param]
        return lambda space, seed, objectives: wrap(named(inner, space, seed, objectives))


@pytest.mark.parametrize("name", strategies.names())
def test_unknown_settings_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="setting 'colour' is unknown"):
        strategies.create(name, Tiny(), colour="red")


@pytest.mark.parametrize(
    ("name", "setting", "value"),
    [
        ("regularized-evolution", "population", 0),
        ("non-aging-evolution", "sample", -1),
        ("grid", "levels", 0),
        ("reinforce", "learning_rate", 0.0),
        ("reinforce", "momentum", 1.0),
        ("reinforce", "entropy", -0.1),
        ("tpe", "startup", 0),
        ("nsga2", "population", 1),
    ],
)
def test_settings_out_of_range_are_refused(name: str, setting: str, value: float) -> None:
    with pytest.raises(InputError, match=f"setting '{setting}' is {value}; accepted"):
        strategies.create(name, Tiny(), **{setting: value})


@pytest.mark.parametrize(
    ("name", "setting", "value", "accepted"),
    [
        ("regularized-evolution", "population", "10", "an integer"),
        ("regularized-evolution", "population", 2.5, "an integer"),
        ("regularized-evolution", "population", True, "an integer"),
        ("asha", "eta", 2.5, "an integer"),
        ("grid", "levels", 2.5, "an integer"),
        ("reinforce", "learning_rate", "x", "a number"),
        ("reinforce", "learning_rate", float("nan"), "a number"),
        ("reinforce", "learning_rate", None, "a number"),
        ("bo", "kernel", 3, "text"),
        ("bo", "per_second", 1, "true, false"),
        ("pnas", "surrogate", "gp", "'mlp' or 'lstm'"),
    ],
)
def test_settings_of_another_type_are_refused(
    name: str, setting: str, value: object, accepted: str
) -> None:
    with pytest.raises(InputError) as caught:
        strategies.create(name, Tiny(), **{setting: value})
    assert str(caught.value) == f"setting {setting!r} is {value!r}; accepted: {accepted}"


def test_an_integer_is_a_number() -> None:
    strategies.create("reinforce", Tiny(), learning_rate=1)
