"""Searches under a latency target, from the wish of a user to a finished study."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import transnas as tn
from transnas import InputError, cli, spaces, tasks
from transnas.evaluation import Objective
from transnas.oneshot import Searching
from transnas.studies import load_study
from transnas.studies._latency import LatencyWish, with_latency
from transnas.studies._plan import default_evaluator, default_space, make_plan

SPACE = spaces.get("nasbench201")


def wished(wish: LatencyWish, *objectives: Objective, task: str = "nasbench201/cifar10"):  # type: ignore[no-untyped-def]
    found = tasks.get(task)
    return with_latency(found, SPACE, default_evaluator(found, SPACE), objectives, wish)


@pytest.mark.parametrize(
    ("text", "target"), [("5ms", 5.0), ("5", 5.0), ("0.5 s", 500.0), ("300us", 0.3), ("1e1", 10.0)]
)
def test_targets_have_units(text: str, target: float) -> None:
    evaluator, objectives = wished(LatencyWish(text, -0.1))
    assert evaluator.target == pytest.approx(target)
    assert objectives == (Objective("latency_reward"),)


def test_nothing_wished_changes_nothing() -> None:
    evaluator, objectives = wished(LatencyWish(), Objective())
    assert evaluator.label == "Table"
    assert objectives == (Objective(),)


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        (LatencyWish("soon"), "latency target 'soon' is not readable; accepted: like 5ms"),
        (LatencyWish("5min"), "latency target '5min' is not readable"),
        (LatencyWish("0ms"), "latency target 0 has no latency reward"),
        (LatencyWish("5ms", 0.5), r"latency weight 0\.5 is not accepted"),
        (LatencyWish("5ms", constraint="strict"), "latency constraint 'strict' is unknown"),
        (LatencyWish(weight=-0.1), "latency weight is given without a latency target"),
        (LatencyWish(constraint="hard"), "latency constraint is given without a latency target"),
    ],
)
def test_wishes_that_make_no_sense(wish: LatencyWish, said: str) -> None:
    with pytest.raises(InputError, match=said):
        wished(wish)


def test_a_latency_target_of_a_language_task_is_refused(tmp_path: Path) -> None:
    for name in ("train", "valid"):
        (tmp_path / f"{name}.txt").write_text("a b\n" * 20)
    text = tasks.get(str(tmp_path))
    space = spaces.get(default_space(text))
    training = default_evaluator(text, space, "cpu")
    with pytest.raises(InputError, match=r"'validation_log_likelihood' is never above 0; accepted"):
        with_latency(text, space, training, (), LatencyWish("5ms"), "cpu")
    front = (Objective(text.metric), Objective("latency_ms", maximise=False))
    assert with_latency(text, space, training, front, LatencyWish(), "cpu")[1] == front


def test_a_supernet_is_searched_on_the_device_that_networks_are_trained_on() -> None:
    task = tasks.get("digits:limit=6")
    training = default_evaluator(task, SPACE, "cpu")
    wishes = (LatencyWish(), LatencyWish("5ms"))
    for wish in wishes:
        evaluator, objectives = with_latency(task, SPACE, training, (), wish, "cpu")
        plan = make_plan(
            task, SPACE, "gdas", objectives or None, 1, 0, None, evaluator, (), trials=1
        )
        assert isinstance(plan.evaluator, Searching)
        assert plan.evaluator.device == "cpu"


def test_a_study_with_another_target_is_not_continued(
    data_file: Callable[[str], Path], tmp_path: Path
) -> None:
    data_file("nas/nasbench201_hw.npz")
    storage = f"sqlite:///{tmp_path}/s.db"
    command = ["search", "--task", "nasbench201/cifar10", "--trials", "12", "--device-table",
               "raspi4", "--storage", storage, "--name", "fast", "--latency-constraint",
               "hard"]  # fmt: skip
    assert cli.main([*command, "--latency-target", "15ms"]) == 0
    study = load_study("fast", storage)
    assert study.best is not None
    metrics = study.best.metrics
    slow = max(1.0, metrics["latency_ms"] / 15)
    assert metrics["latency_reward"] == pytest.approx(metrics["validation_accuracy"] / slow)
    assert cli.main([*command, "--latency-target", "9ms"]) == 2


def test_a_front_of_accuracy_and_latency(data_file: Callable[[str], Path]) -> None:
    data_file("nas/nasbench201_hw.npz")
    front = (Objective("validation_accuracy"), Objective("latency_ms", maximise=False))
    evaluator, objectives = wished(LatencyWish(table="fpga"), *front)
    study = tn.search(
        "nasbench201/cifar10", strategy="nsga2", trials=30, settings={"population": 10},
        objectives=objectives, evaluator=evaluator, storage="memory://", progress=False,
    )  # fmt: skip
    order = sorted(study.front, key=lambda t: t.metrics["latency_ms"])
    accuracies = [t.metrics["validation_accuracy"] for t in order]
    assert len(order) > 1
    assert accuracies == sorted(accuracies)
