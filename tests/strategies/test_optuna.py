"""Optuna's samplers as strategies, and our strategies as Optuna samplers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.testing.pytest_samplers import BasicSamplerTestCase, MultiObjectiveSamplerTestCase

from transnas import InputError, tasks
from transnas.evaluation import Measurement, Objective, Recipe, Training
from transnas.spaces import Architecture, Space, get
from transnas.strategies import as_optuna_sampler, create, pruning, suggest
from transnas.strategies._optuna import decode, parameters
from transnas.testing.strategies import Mixed, Tiny, VariableDepth

SCORE = (Objective("score"),)
SPACES = [get("nasbench201"), VariableDepth(), Mixed()]


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def score(arch: Architecture) -> float:
    return float(sum(v == 3 for v in arch.values))


# Conversion -------------------------------------------------------------------------------------


@given(codes=st.lists(st.integers(0, 3), min_size=4, max_size=4))
@settings(max_examples=100, deadline=None)
def test_every_code_has_an_architecture_and_each_is_its_own_code(codes: list[int]) -> None:
    space = VariableDepth()
    params = {c.name: c.values[v] for c, v in zip(space.choices, codes, strict=True)}
    arch = decode(space, params)
    space.validate(arch)
    assert decode(space, parameters(space, arch)) == arch


def test_parameters_of_another_space_are_refused() -> None:
    with pytest.raises(InputError, match="parameter 'op' is 'z'; accepted: a, b, c"):
        decode(Tiny(), {"op": "z", "width": "8"})
    with pytest.raises(InputError, match="parameter 'width' is None"):
        decode(Tiny(), {"op": "a"})
    with pytest.raises(InputError, match="parameter 'learning rate' is missing"):
        decode(Mixed(), {"op": "a"})


# Samplers as strategies -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3", "optuna-random"])
def test_repeats_cost_no_query(name: str) -> None:
    strategy = create(name, VariableDepth(), 0, SCORE)
    asked = []
    for _ in range(60):
        asked.append(strategy.ask())
        strategy.tell(asked[-1], Measurement({"score": score(asked[-1])}))
    assert len(set(asked)) == 60


@pytest.mark.parametrize("name", ["tpe", "nsga2"])
def test_model_and_generations_beat_random(name: str) -> None:
    space, extra = get("nasbench201"), {"population": 10} if name == "nsga2" else {}
    totals = dict.fromkeys((name, "random"), 0.0)
    for strategy_name in totals:
        for seed in range(5):
            chosen = extra if strategy_name == name else {}
            strategy = create(strategy_name, space, seed, SCORE, **chosen)
            for _ in range(80):
                arch = strategy.ask()
                strategy.tell(arch, Measurement({"score": score(arch)}))
                totals[strategy_name] += score(arch)
    assert totals[name] > 1.4 * totals["random"]


@pytest.mark.parametrize("name", ["tpe", "nsga2", "nsga3"])
def test_several_objectives_are_searched_together(name: str) -> None:
    # Score counts threes, size counts all that is not zero: the front runs from 0 to 6 threes.
    space = get("nasbench201")
    objectives = (Objective("score"), Objective("size", maximise=False))
    chosen = {} if name == "tpe" else {"population": 20}
    steps = 100 if name == "tpe" else 240
    strategy = create(name, space, 0, objectives, **chosen)
    late = []
    for step in range(steps):
        arch = strategy.ask()
        size = float(sum(v != 0 for v in arch.values))
        strategy.tell(arch, Measurement({"score": score(arch), "size": size}))
        late += [size - score(arch)] if step >= steps - 40 else []
    # On the front size equals score; a random cell is 3.6 away from it.
    assert sum(late) / len(late) < 2.4


def test_numeric_samplers_refuse_purely_categorical_spaces() -> None:
    for name in ("cma-es", "qmc"):
        with pytest.raises(InputError, match="has only categorical choices"):
            create(name, Tiny())


def test_cma_es_finds_a_number() -> None:
    strategy = create("cma-es", Mixed(), 0, SCORE)
    errors = []
    for _ in range(120):
        arch = strategy.ask()
        errors.append((arch.numbers[1] - 0.3) ** 2)
        strategy.tell(arch, Measurement({"score": -errors[-1]}))
    assert sum(errors[-20:]) < 0.1 * sum(errors[:20])


@pytest.mark.slow
@pytest.mark.parametrize("space", [Tiny(), VariableDepth()])
def test_the_gaussian_process_is_deterministic_and_restored(space: Space) -> None:
    def play(steps: int, state: str = "") -> tuple[list[Architecture], str]:
        strategy = create("optuna-gp", space, 1, SCORE, startup=2)
        if state:
            strategy.restore(json.loads(state))
        asked = []
        for _ in range(steps):
            asked.append(strategy.ask())
            strategy.tell(asked[-1], Measurement({"score": score(asked[-1])}))
        return asked, json.dumps(strategy.state())

    whole, _ = play(5)
    begun, state = play(3)
    assert begun + play(2, state)[0] == whole


def test_listing_strategies_imports_neither_optuna_nor_torch() -> None:
    code = (
        "import sys, transnas.strategies as s; s.names();"
        "assert not {'optuna', 'torch'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# Strategies as samplers -------------------------------------------------------------------------

SAMPLED = ["random", "regularized-evolution", "local-search", "tpe", "sobol"]


class TestBasicSampler(BasicSamplerTestCase):
    """Optuna's own expectations, on objectives that have nothing to do with our space."""

    @pytest.fixture(params=["random", "local-search"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], optuna.samplers.BaseSampler]:
        return lambda: as_optuna_sampler(request.param, get("nasbench201"))


class TestMultiObjectiveSampler(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=["random", "nsga2"])
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], optuna.samplers.BaseSampler]:
        return lambda: as_optuna_sampler(request.param, get("nasbench201"))


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("name", SAMPLED)
def test_a_study_follows_the_strategy(name: str, space: Space, direction: str) -> None:
    sign = 1.0 if direction == "maximize" else -1.0
    found: list[Architecture] = []

    def objective(trial: optuna.Trial) -> float:
        found.append(suggest(trial, space))
        if len(found) == 7:
            raise ValueError
        return sign * score(found[-1])

    study = optuna.create_study(direction=direction, sampler=as_optuna_sampler(name, space, 5))
    study.optimize(objective, n_trials=30, catch=ValueError)
    strategy = create(name, space, 5, SCORE)
    for i, arch in enumerate(found):
        assert strategy.ask() == arch
        told = Measurement.failed("") if i == 6 else Measurement({"score": score(arch)})
        strategy.tell(arch, told)
    texts = [t.user_attrs["architecture"] for t in study.trials]
    assert texts == [space.to_text(a) for a in found]


def test_other_parameters_of_the_objective_are_sampled_too() -> None:
    def objective(trial: optuna.Trial) -> float:
        arch = suggest(trial, Tiny())
        return score(arch) + trial.suggest_float("dropout", 0.0, 0.5)

    study = optuna.create_study(sampler=as_optuna_sampler("random", Tiny()))
    study.optimize(objective, n_trials=5)
    assert all(set(t.params) == {"op", "width", "dropout"} for t in study.trials)


def test_an_exhausted_strategy_stops_the_study() -> None:
    study = optuna.create_study(sampler=as_optuna_sampler("grid", Tiny()))
    study.optimize(lambda trial: score(suggest(trial, Tiny())), n_trials=50)
    assert len({t.user_attrs["architecture"] for t in study.trials[:6]}) == 6
    assert len(study.trials) == 7


def test_threads_share_one_strategy() -> None:
    study = optuna.create_study(sampler=as_optuna_sampler("random", VariableDepth()))
    study.optimize(lambda t: score(suggest(t, VariableDepth())), n_trials=40, n_jobs=4)
    assert len({t.user_attrs["architecture"] for t in study.trials}) == 40


def test_a_loaded_study_continues_from_its_trials() -> None:
    storage = optuna.storages.InMemoryStorage()
    seen = set()
    for seed in (1, 2):
        sampler = as_optuna_sampler("random", VariableDepth(), seed)
        study = optuna.create_study(
            storage=storage, sampler=sampler, study_name="one", load_if_exists=True
        )
        study.optimize(lambda t: score(suggest(t, VariableDepth())), n_trials=50)
        seen |= {t.user_attrs["architecture"] for t in study.trials}
    assert len(seen) == 100


def test_bad_names_are_answered_at_once() -> None:
    with pytest.raises(InputError, match="did you mean 'local-search'"):
        as_optuna_sampler("local-serch", Tiny())
    with pytest.raises(InputError, match="setting 'colour' is unknown"):
        as_optuna_sampler("random", Tiny(), colour="red")


@pytest.mark.parametrize("name", ["asha", "hyperband", "bohb", "successive-halving"])
def test_strategies_with_budgets_are_no_samplers(name: str) -> None:
    with pytest.raises(InputError, match=f"strategy '{name}' chooses the epochs .*; accepted"):
        as_optuna_sampler(name, get("nasbench201"))


def test_nsga2_finds_the_front_of_error_and_size() -> None:
    """On a table with both, the front that it finds covers more than that of random search."""
    space = get("transnas101-micro")
    objectives = (Objective("quality"), Objective("size", maximise=False))

    def measured(arch: Architecture) -> tuple[float, float]:
        convolutions = sum(v == 3 for v in arch.values)
        cheap = sum(v == 2 for v in arch.values)
        return convolutions + 0.6 * cheap - 0.3 * sum(v == 0 for v in arch.values), float(
            9 * convolutions + cheap
        )

    def covered(name: str, seed: int) -> float:
        given = {"population": 20} if name == "nsga2" else {}
        strategy = create(name, space, seed, objectives, **given)
        points = []
        for _ in range(200):
            arch = strategy.ask()
            quality, size = measured(arch)
            strategy.tell(arch, Measurement({"quality": quality, "size": size}))
            points.append((quality + 2, 55 - size))  # both against a fixed reference point
        area, last = 0.0, 0.0
        for quality, room in sorted(points, key=lambda p: (-p[1], -p[0])):
            if quality > last:
                area += (quality - last) * room
                last = quality
        return area

    searched = sum(covered("nsga2", seed) for seed in range(2))
    drawn = sum(covered("optuna-random", seed) for seed in range(2))
    assert searched > drawn


@pytest.mark.slow
def test_optunas_pruners_end_hopeless_trainings_early() -> None:
    """Real trainings: one that cannot learn is stopped by the curve of one that can."""
    space, task = get("nasbench201"), tasks.get("digits")
    study = optuna.create_study(
        direction="maximize",
        pruner=optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2),
    )
    good, cut_off = space.architecture((3,) * 6), space.architecture((0,) * 6)
    for arch in (good, good, cut_off):
        trial = study.ask()
        recipe = Recipe(epochs=4, augment=False)
        training = Training(
            task, space, recipe, "cpu", {"channels": 4, "cells": 1}, progress=pruning(trial)
        )
        try:
            value = training.evaluate(arch).metrics["validation_accuracy"]
            study.tell(trial, value)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    states = [t.state for t in study.trials]
    assert states[0] == optuna.trial.TrialState.COMPLETE
    assert states[2] == optuna.trial.TrialState.PRUNED
    assert len(study.trials[2].intermediate_values) < 4
