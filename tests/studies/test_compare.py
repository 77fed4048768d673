"""`compare`: equal budgets, intervals and tests against closed forms and scipy."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pytest
from scipy import stats
from study_toys import TASK, Sum

from transnas import InputError, spaces, strategies, tasks
from transnas.evaluation import Objective, Table
from transnas.studies import Comparison, compare, load_study, search
from transnas.studies._settings import method_and_settings, typed_settings
from transnas.studies._statistics import bootstrap_mean, expected_best, holm, paired_p

CIFAR = "nasbench201/cifar10"


# Statistics ----------------------------------------------------------------------------------


def test_the_interval_is_the_normal_one_for_many_samples() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(400, 1))
    mean, low, high = bootstrap_mean(values)
    half = 1.96 * values.std() / math.sqrt(400)
    assert mean[0] == pytest.approx(values.mean())
    assert low[0] == pytest.approx(values.mean() - half, abs=0.02)
    assert high[0] == pytest.approx(values.mean() + half, abs=0.02)


def test_the_interval_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).exponential(size=30)
    expected = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    _, low, high = bootstrap_mean(values[:, None], resamples=20_000)
    assert low[0] == pytest.approx(expected.low, abs=0.02)
    assert high[0] == pytest.approx(expected.high, abs=0.02)


def test_the_interval_covers_the_mean_95_times_in_100() -> None:
    rng = np.random.default_rng(3)
    columns = rng.normal(size=(40, 2000))
    _, low, high = bootstrap_mean(columns, resamples=1000)
    covered = ((low <= 0) & (high >= 0)).mean()
    assert 0.92 < covered < 0.97


def test_rows_without_value_are_left_out() -> None:
    values = np.array([[1.0, math.nan, math.nan], [3.0, 5.0, math.nan]])
    mean, low, high = bootstrap_mean(values)
    assert mean[:2] == pytest.approx([2.0, 5.0])
    assert (low[1], high[1]) == (5.0, 5.0)
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_paired_p_is_exact_for_few_pairs() -> None:
    # All five differences have one sign: probability 2 / 2^5 under the null hypothesis.
    first = np.arange(5.0)
    assert paired_p(first, first + np.arange(1.0, 6.0)) == pytest.approx(2 / 2**5)
    assert paired_p(first, first) == 1.0
    assert math.isnan(paired_p(first[:1], first[:1] + 1))
    with_gap = np.array([0.0, math.nan, 2.0, 3.0, 4.0])
    assert paired_p(with_gap, first + np.array([1.0, 9.0, 3.0, 4.0, 5.0])) == pytest.approx(
        2 / 2**4
    )


def test_pairs_without_a_difference_are_split_and_not_dropped() -> None:
    second = np.append(np.zeros(5), np.arange(1.0, 21.0) * np.resize([1, 1, -1, 1], 20))
    first = np.zeros(25)
    split = stats.wilcoxon(second, zero_method="zsplit").pvalue
    assert paired_p(first, second) == pytest.approx(split)
    assert split != pytest.approx(paired_p(first[5:], second[5:]))


def test_p_values_are_uniform_without_a_difference() -> None:
    rng = np.random.default_rng(4)
    ps = [paired_p(rng.normal(size=30), rng.normal(size=30)) for _ in range(400)]
    assert stats.kstest(ps, "uniform").pvalue > 0.01


def test_holm_is_the_published_correction() -> None:
    # Holm (1979): the sorted p-values times 4, 3, 2, 1, never decreasing.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([0.6, 0.7, 0.8]) == [1.0] * 3
    adjusted = holm([0.02, math.nan, 0.01])
    assert adjusted[0] == pytest.approx(0.02)
    assert math.isnan(adjusted[1])
    assert adjusted[2] == pytest.approx(0.02)
    assert holm([]) == []


def test_the_expected_best_is_the_mean_over_all_draws() -> None:
    values = np.array([0.3, 0.1, 0.9, np.nan, 0.4, 0.4, 0.7])
    for count in range(1, 7):
        draws = itertools.combinations(values[~np.isnan(values)], count)
        assert expected_best(values, count) == pytest.approx(np.mean([max(d) for d in draws]))
    assert expected_best(values, 99) == 0.9
    assert math.isnan(expected_best(np.array([np.nan]), 1))


def test_chance_on_nasbench201_is_the_published_curve() -> None:
    """Best of n random cells by mean validation accuracy after 200 epochs, CIFAR-10."""
    values = Table(tasks.get(CIFAR)).rewards(budget=200)  # type: ignore[arg-type]
    known = {1: 83.687, 10: 89.975, 50: 90.799, 100: 91.025, 500: 91.327, 1000: 91.416}
    for count, expected in known.items():
        assert 100 * expected_best(values, count) == pytest.approx(expected, abs=0.001)


# Comparisons ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found() -> Comparison:
    methods = ["random", "local-search", "regularized-evolution:population=5,sample=2"]
    return compare(methods, [CIFAR, "nasbench201/cifar100"], 12, 30)


def test_values_and_costs_are_those_of_the_sequential_searches(found: Comparison) -> None:
    table, space = Table(tasks.get(CIFAR)), spaces.get("nasbench201")  # type: ignore[arg-type]
    rewards, seconds = table.rewards(), table.seconds()
    asked = strategies.replicate("local-search", space, rewards, range(12), 30)
    arm = next(a for a in found.arms if (a.task, a.method) == (CIFAR, "local-search"))
    assert arm.values == pytest.approx(rewards[asked].max(axis=1))
    assert arm.seconds == pytest.approx(seconds[asked].sum(axis=1))
    best = np.maximum.accumulate(rewards[asked], axis=1)
    assert arm.mean == pytest.approx(best.mean(axis=0))
    assert np.less_equal(arm.low, arm.mean).all()
    assert np.less_equal(arm.mean, arm.high).all()


def test_a_comparison_on_studies_equals_one_on_tables(tmp_path: Path) -> None:
    """The same searches, trial by trial through the study loop, give the same numbers."""
    found = compare(["local-search"], [CIFAR], [3, 5], 15)
    for i, seed in enumerate((3, 5)):
        study = search(CIFAR, None, "local-search", 15, seed=seed, storage="memory://compare")
        assert study.best is not None
        assert study.best.metrics["validation_accuracy"] == pytest.approx(found.arms[0].values[i])
        cost = sum(t.measurement.cost.seconds for t in study.trials)
        assert cost == pytest.approx(found.arms[0].seconds[i])


def test_rows_test_against_the_first_method(found: Comparison) -> None:
    rows = found.rows()
    assert [(r.task, r.method) for r in rows] == [
        (task, method) for task in found.tasks for method in found.methods
    ]
    raw = []
    for task in found.tasks:
        first, *others = (np.array(a.values) for a in found.arms if a.task == task)
        raw += [stats.wilcoxon(o - first, zero_method="zsplit").pvalue for o in others]
    tested = [r.p for r in rows if r.method != "random"]
    assert tested == pytest.approx(holm(raw))
    assert all(math.isnan(r.p) for r in rows if r.method == "random")
    assert all(r.reached for r in rows if r.method == "random"), "by itself at the latest"
    for row in rows:
        baseline = next(r for r in rows if r.task == row.task)
        assert row.difference == pytest.approx(row.mean - baseline.mean)
        if row.reached:
            arm = next(a for a in found.arms if (a.task, a.method) == (row.task, row.method))
            assert arm.mean[row.reached - 1] >= baseline.mean - 1e-9
            assert row.reached == 1 or arm.mean[row.reached - 2] < baseline.mean


def test_chance_stands_beside_the_methods(found: Comparison) -> None:
    rewards = Table(tasks.get(CIFAR)).rewards()  # type: ignore[arg-type]
    assert found.chance[CIFAR] == expected_best(rewards, 30)
    random = found.rows()[0]
    assert random.low < found.chance[CIFAR] < random.high
    least = compare(["random"], [CIFAR], 1, 30, objective=Objective("validation_accuracy", False))
    assert least.chance[CIFAR] == -expected_best(-rewards, 30) < rewards.mean()
    older = json.loads(found.to_json())
    del older["chance"]
    assert Comparison.from_json(json.dumps(older)).chance == {}


def test_a_window_leaves_the_first_tenth_and_other_tasks_out(found: Comparison) -> None:
    for task in found.tasks:
        arms = [a for a in found.arms if a.task == task]
        low, high = (
            end(end(getattr(a, name)[found.trials // 10 :]) for a in arms)
            for name, end in (("low", min), ("high", max))
        )
        assert found.window(task) == (low, high)
        assert low > min(min(a.low) for a in arms)


def test_minimising_turns_everything_round() -> None:
    objective = Objective("validation_accuracy", False)
    least = compare(["random", "local-search"], [CIFAR], 8, 30, objective=objective)
    most = compare(["random"], [CIFAR], 8, 30)
    arm = least.arms[0]
    assert list(arm.mean) == sorted(arm.mean, reverse=True)
    assert max(arm.values) < min(most.arms[0].values)
    assert all(row.reached is None or row.mean <= least.rows()[0].mean for row in least.rows())


def test_transfer_learns_from_other_tasks_only(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/studies.db"
    for task in (CIFAR, "nasbench201/cifar100"):
        search(task, None, "random", 60, storage=storage)
    methods, imagenet = ["random", "store-transfer"], "nasbench201/imagenet16-120"
    warm = compare(methods, [imagenet, CIFAR], 6, 12, learn_from=[storage])
    cold = compare(methods, [imagenet, CIFAR], 6, 12)
    for task in (imagenet, CIFAR):
        helped, alone = (
            np.mean(next(a for a in c.arms if (a.task, a.method) == (task, methods[1])).values)
            for c in (warm, cold)
        )
        assert helped > alone
    assert warm.arms[0] == cold.arms[0]
    # What is learnt for CIFAR-10 is what CIFAR-100 alone teaches.
    only = f"sqlite:///{tmp_path}/only.db"
    search("nasbench201/cifar100", None, "random", 60, storage=only)
    assert compare(methods, [CIFAR], 6, 12, learn_from=[only]).arms[1] == warm.arms[3]
    with pytest.raises(InputError, match="for other tasks than nasbench201/cifar100"):
        compare(methods, ["nasbench201/cifar100"], 2, 5, learn_from=[only])


def test_arms_that_train_learn_from_earlier_studies_of_other_tasks_only(sqlite: str) -> None:
    """Also where their own studies, and earlier ones of the task, lie in the same storage."""
    search(TASK, None, "random", 10, storage=sqlite, name="earlier", evaluator=Sum())
    on = ["digits:limit=6", "digits:limit=7"]
    search(on[0], None, "random", 3, storage=sqlite, name="same task", evaluator=Sum())

    def run(seeds: int) -> Comparison:
        return compare(
            ["random", "store-transfer"], on, seeds, 1, epochs=1, learn_from=[sqlite],
            storage=sqlite, progress=False,
        )  # fmt: skip

    first = run(1)
    assert run(1).arms == first.arms
    run(2)
    for task, known in zip(on, ({"earlier"}, {"earlier", "same task"}), strict=True):
        for seed in (0, 1):
            study = load_study(f"compare-{task}-store-transfer-seed{seed}", sqlite)
            assert {source["study"] for source in study.info["learn_from"]} == known


def test_an_arm_from_elsewhere_stands_with_its_task(found: Comparison) -> None:
    best = np.maximum.accumulate(np.random.default_rng(0).random((12, 30)), axis=1)
    more = found.with_arm(CIFAR, "mine", best, np.arange(12.0))
    assert more.tasks == found.tasks
    assert [row.method for row in more.rows()] == [*found.methods, "mine", *found.methods]
    row = more.rows()[3]
    assert (row.mean, row.seconds) == (pytest.approx(best[:, -1].mean()), 5.5)
    assert more.arms[4:] == found.arms[3:]


def test_json_keeps_everything(found: Comparison) -> None:
    again = Comparison.from_json(found.to_json())
    assert again.to_json() == found.to_json()
    assert again == found
    data = json.loads(found.to_json())
    assert data["info"]["machine"]["cpus"]
    assert set(data["info"]) >= {"commit", "versions", "command", "created"}
    assert data["rows"][0]["p"] is None
    for bad in ("", "[]", "{}", '{"format": 9}', "\x00"):
        with pytest.raises(InputError, match="accepted:"):
            Comparison.from_json(bad)


def test_exhausted_strategies_pay_nothing_more() -> None:
    table = Table(tasks.get(CIFAR))  # type: ignore[arg-type]
    arm = compare(["random"], [CIFAR], 1, 15_625 + 50).arms[0]
    assert arm.values == (np.nanmax(table.rewards()),)
    assert arm.seconds == pytest.approx([table.seconds().sum()])
    assert len(arm.mean) == 15_625 + 50


def test_table_and_plots(found: Comparison, tmp_path: Path) -> None:
    lines = found.table().splitlines()
    assert len(lines) == 2 + len(found.arms) + len(found.tasks)
    assert "| nasbench201/cifar10 | random |" in lines[2]
    for suffix, start in (
        (".png", b"\x89PNG"),
        (".svg", b"<?xml"),
        (".pdf", b"%PDF"),
        (".html", b"<!"),
    ):
        path = found.plot(tmp_path / f"curves{suffix}")
        assert path.read_bytes().startswith(start)
    with pytest.raises(InputError, match="no known suffix"):
        found.plot(tmp_path / "curves.bmp")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": []}, "methods are empty"),
        ({"methods": ["random", "random"]}, "name one twice"),
        ({"methods": ["randon"]}, "did you mean 'random'"),
        ({"methods": ["random:a=1"]}, "setting of strategy 'random' 'a' is unknown"),
        ({"on": []}, "tasks are empty"),
        ({"on": ["nasbench201/cifar11"]}, "did you mean 'nasbench201/cifar10'"),
        ({"seeds": 0}, "seeds 0"),
        ({"seeds": [-1]}, "none negative"),
        ({"seeds": [1, 2, 1]}, r"seeds \[1, 2, 1\] name one twice"),
        ({"trials": 0}, "trials 0"),
        ({"epochs": 13}, "epochs 13"),
        ({"objective": "accuracy"}, "metric 'accuracy'"),
        ({"space": "nasbench-macro"}, "does not fit task"),
        ({"learn_from": ["memory://"]}, "is of no use to random"),
        ({"learn_from": ["sqlite:///no.db"], "methods": ["store-transfer"]}, "no.db"),
        ({"methods": ["random", "hyperband"]}, "'hyperband' chooses the epochs of each"),
        ({"methods": ["random", "asha"]}, "'asha' chooses the epochs of each"),
        ({"on": [TASK, replace(TASK, column="other")]}, "names toy, toy; accepted: different"),
    ],
)
def test_bad_requests_are_one_sentence(options: dict[str, object], message: str) -> None:
    request = {"methods": ["random"], "on": [CIFAR], "seeds": 2, "trials": 3, **options}
    with pytest.raises(InputError, match=message):
        compare(**request)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"methods": ["random", "regularized-evolution:population=0"]}, "'population' is 0"),
        ({"methods": ["random", "path-level"]}, "has no transformations"),
        ({"methods": ["random", "gdas"], "space": "fractal"}, "fractal"),
        ({"methods": ["random", "hyperband"], "epochs": 1}, "chooses them itself"),
        ({"on": ["digits:limit=6", CIFAR], "methods": ["random", "asha"]}, "replicates on a table"),
        ({"workers": "many"}, "workers 'many'"),
    ],
)
def test_nothing_is_trained_before_every_arm_is_checked(
    options: dict[str, object], message: str, sqlite: str, tmp_path: Path
) -> None:
    request = {"methods": ["random"], "on": ["digits:limit=6"], "seeds": 1, "trials": 1, **options}
    with pytest.raises(InputError, match=message):
        compare(**request, storage=sqlite, progress=False)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# Settings as text ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _Settings:
    count: int = 1
    rate: float = 0.5
    on: bool = False
    kind: Literal["a", "b"] = "a"
    limit: int | None = None


class _Typed(strategies.Strategy):
    Settings: ClassVar[type[_Settings]] = _Settings


@pytest.fixture
def typed(monkeypatch: pytest.MonkeyPatch) -> str:
    get = strategies.get
    monkeypatch.setattr(strategies, "get", lambda name: _Typed if name == "typed" else get(name))
    return "typed"


def test_settings_are_typed_by_their_fields(typed: str) -> None:
    given = ["count=3", "rate=1", "on=True", "kind=b", "limit=none"]
    found = typed_settings(typed, given)
    assert found == {"count": 3, "rate": 1.0, "on": True, "kind": "b", "limit": None}
    assert type(found["rate"]) is float
    assert typed_settings(typed, ["limit=7"]) == {"limit": 7}
    assert method_and_settings("typed:count=2,rate=1e-3") == ("typed", {"count": 2, "rate": 1e-3})


@pytest.mark.parametrize(
    ("text", "accepted"),
    [
        ("count=1.5", "an integer"),
        ("rate=fast", "a number"),
        ("on=1", "true, false"),
        ("kind=c", "'a' or 'b'"),
        ("limit=x", "none or an integer"),
        ("count", "name=value"),
        ("cuont=1", "did you mean 'count'"),
    ],
)
def test_bad_settings_say_what_is_accepted(typed: str, text: str, accepted: str) -> None:
    with pytest.raises(InputError, match=accepted):
        typed_settings(typed, [text])
    with pytest.raises(InputError, match="twice"):
        typed_settings(typed, ["count=1", "count=2"])
