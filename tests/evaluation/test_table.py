"""`Table` against published optima and an independent reading of the provided files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transnas import InputError, spaces, tasks
from transnas.evaluation import Cost, Evaluator
from transnas.evaluation.device_table import devices
from transnas.evaluation.table import Table
from transnas.spaces import Space
from transnas.tasks import TableTask
from transnas.testing.evaluators import EvaluatorContract

SHORT = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}


def table(column: str, run: str | int = "mean") -> Table:
    task = tasks.get(f"nasbench201/{column}")
    assert isinstance(task, TableTask)
    return Table(task, run)


class TestContract(EvaluatorContract):
    @pytest.fixture(params=["mean", "any"])
    def evaluator(self, request: pytest.FixtureRequest) -> Evaluator:
        return table("cifar100", request.param)

    @pytest.fixture
    def space(self) -> Space:
        return spaces.get("nasbench201")


@pytest.mark.parametrize(
    ("column", "index", "accuracy"),
    [
        ("cifar10", 6111, 0.91607),
        ("cifar100", 9930, 0.73493),
        ("imagenet16-120", 10676, 0.46733),
    ],
)
def test_embedded_table_has_the_published_optima(column: str, index: int, accuracy: float) -> None:
    rewards = table(column).rewards(budget=200)
    assert int(rewards.argmax()) == index
    assert rewards[index] == pytest.approx(accuracy, abs=5e-6)
    arch = spaces.get("nasbench201").at(index)
    measured = table(column).evaluate(arch, 200)
    assert measured.metrics["validation_accuracy"] == pytest.approx(rewards[index])
    assert measured.cost.seconds == pytest.approx(table(column).seconds(200)[index])


@pytest.mark.parametrize("column", SHORT)
def test_rewards_equal_the_provided_files(column: str, data_file: Callable[[str], Path]) -> None:
    short = SHORT[column]
    with np.load(data_file("nas/nasbench201.npz"), allow_pickle=False) as file:
        runs, twelve, sizes = file[f"val_{short}"], file[f"val12_{short}"], file[f"params_{short}"]
    means = np.nanmean(runs.astype(np.float64), axis=1) / 100
    assert np.abs(table(column).rewards(budget=200) - means).max() < 1e-6
    assert np.abs(table(column).rewards(budget=12) - twelve / 100).max() < 1e-6
    assert np.abs(table(column).rewards("parameters") - sizes * 1e6).max() < 1
    second_run = table(column, 1).rewards(budget=200)
    assert np.abs(second_run - runs[:, 1] / 100).max() < 1e-6


@pytest.mark.parametrize("column", SHORT)
def test_costs_and_counts_equal_the_provided_files(
    column: str, data_file: Callable[[str], Path]
) -> None:
    short = SHORT[column]
    with np.load(data_file("nas/nasbench201.npz"), allow_pickle=False) as file:
        whole, base = file[f"train_time_{short}"], file["train_time_c10"]
        cost, flops = file["cost12_c10"], file[f"flops_{short}"]
        latency = file[f"latency_{short}"]
    looked = table(column)
    assert looked.default_budget == 200
    assert looked.seconds() == pytest.approx(looked.seconds(200))
    # 12 epochs are published for CIFAR-10; the others take longer as their whole trainings do.
    assert looked.seconds(12) == pytest.approx(cost * whole / base, rel=1e-5)
    assert looked.rewards("flops") == pytest.approx(flops * 1e6, rel=1e-5)
    assert looked.rewards("latency_ms") == pytest.approx(latency * 1e3, rel=1e-4)
    found = looked.evaluate(spaces.get("nasbench201").at(7), 12)
    assert found.cost == Cost(looked.seconds(12)[7], 12, "table")
    assert found.metrics["flops"] == pytest.approx(flops[7] * 1e6, rel=1e-5)


def test_rows_of_other_tables_are_those_of_their_architectures(
    data_file: Callable[[str], Path],
) -> None:
    with np.load(data_file("nas/transnas101.npz"), allow_pickle=False) as file:
        column = file["tasks"].tolist().index("jigsaw")
        micro, scores = file["micro_ops"], file["micro_val"][:, column]
    with np.load(data_file("nas/nasbench_macro.npz"), allow_pickle=False) as file:
        macro = {name: file[name] for name in file.files}
    rows = np.random.default_rng(0).integers(0, 4096, 20).tolist()
    jigsaw, chains = tasks.get("transnas101-micro/jigsaw"), tasks.get("nasbench-macro/cifar10")
    assert isinstance(jigsaw, TableTask)
    assert isinstance(chains, TableTask)
    for row in rows:
        cell = spaces.get("transnas101-micro").architecture(micro[row].tolist())
        score = Table(jigsaw).evaluate(cell).metrics["validation_score"]
        assert score == pytest.approx(scores[row])
        chain = spaces.get("nasbench-macro").architecture(macro["arch"][row].tolist())
        assert Table(chains).evaluate(chain).metrics == pytest.approx(
            {
                "validation_accuracy": float(macro["test_acc"][row].mean()) / 100,
                "parameters": float(macro["params"][row]),
                "flops": float(macro["flops"][row]),
            },
            rel=1e-6,
        )


def test_any_draws_each_known_run(data_file: Callable[[str], Path]) -> None:
    arch = spaces.get("nasbench201").at(6111)
    drawn = {table("cifar10", "any").evaluate(arch, 200, s).metrics["validation_accuracy"]
             for s in range(40)}  # fmt: skip
    with np.load(data_file("nas/nasbench201.npz"), allow_pickle=False) as file:
        runs = file["val_c10"][6111] / 100
    assert sorted(drawn) == pytest.approx(sorted(set(runs[~np.isnan(runs)].tolist())), abs=1e-6)


def test_final_test_gives_the_published_test_accuracy(data_file: Callable[[str], Path]) -> None:
    data_file("nas/nasbench201_test.npz")
    arch = spaces.get("nasbench201").at(6111)
    assert table("cifar10").final_test(arch)["test_accuracy"] == pytest.approx(0.943733, abs=1e-6)
    assert "test_accuracy" not in table("cifar10").evaluate(arch, 200).metrics


def test_other_tables_have_their_published_maxima(data_file: Callable[[str], Path]) -> None:
    data_file("nas/transnas101.npz")
    for name, best, text in (
        ("transnas101-macro/class_scene", 57.4144, "224131"),
        ("transnas101-macro/jigsaw", 97.0193, "2243"),
        ("transnas101-micro/class_scene", 54.9363, None),
        ("nasbench-macro/cifar10", 0.931267, None),
    ):
        task = tasks.get(name)
        assert isinstance(task, TableTask)
        rewards = Table(task).rewards()
        assert rewards.max() == pytest.approx(best, abs=5e-5)
        if text is not None:
            space = spaces.get(task.space)
            assert space.to_text(space.at(int(rewards.argmax()))) == text


def test_unknown_budgets_metrics_and_runs_are_refused() -> None:
    arch = spaces.get("nasbench201").at(0)
    with pytest.raises(InputError, match="epochs 13 are not in table"):
        table("cifar10").evaluate(arch, 13)
    with pytest.raises(InputError, match="metric 'accuracy' is not in the table"):
        table("cifar10").rewards("accuracy")
    for run in (7, -1, "median"):
        with pytest.raises(InputError, match="accepted"):
            table("cifar10", run)


def test_what_a_table_does_not_hold_is_refused(data_file: Callable[[str], Path]) -> None:
    data_file("nas/nasbench201.npz")
    data_file("nas/nasbench201_test.npz")
    second = table("cifar10", 1)
    for look in (
        lambda: second.evaluate(spaces.get("nasbench201").at(0), 12),
        lambda: second.rewards(budget=12),
    ):
        with pytest.raises(InputError, match=r"run 1 of 12 epochs is not in the table; .*: 0\.\.0"):
            look()
    with pytest.raises(InputError, match="architecture is of space 'darts'"):
        second.final_test(spaces.get("darts").sample(np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("kept", "message"), [(0.5, "hw.npz' is not readable"), (1.0, "hw.npz' has no array 'metrics'")]
)
def test_damaged_and_other_files_are_refused(
    kept: float, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nas").mkdir()
    path = tmp_path / "nas" / "nasbench201_hw.npz"
    np.savez(path, other=np.arange(1000))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    monkeypatch.setenv("TRANSNAS_DATA", str(tmp_path))
    with pytest.raises(InputError, match=message):
        devices()
