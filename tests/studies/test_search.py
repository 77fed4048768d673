"""`search` on every kind of storage: what is stored, read back, resumed and refused."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from study_toys import SPACE, TASK, Hopeless, Logged, Refuses, Sum, Troubled

from transnas import InputError, spaces
from transnas.evaluation import Combined, Cost, Evaluator, Measurement, Objective
from transnas.spaces import Architecture, Choice, Range, Space
from transnas.studies import SearchError, Study, Trial, list_studies, load_study, search
from transnas.studies._definition import Definition, environment
from transnas.studies._whole import require_folder
from transnas.tasks import DataTask, Signature


def run(storage: str, trials: int = 20, **options: Any) -> Study:
    """Search the toy task."""
    options = {"strategy": "random", "evaluator": Sum(), **options}
    return search(TASK, trials=trials, storage=storage, **options)


def test_a_study_reads_back_as_it_was(storage: str, request: pytest.FixtureRequest) -> None:
    name = request.node.name
    study = run(storage, name=name, objectives=["validation_accuracy"], command="the command")
    assert [t.number for t in study.trials] == list(range(20))
    again = load_study(name, storage)
    assert again == study
    assert name in list_studies(storage)
    assert again.info["command"] == "the command"
    assert (again.task, again.strategy, again.seed, again.budget) == ("toy", "random", 0, None)
    assert len({t.architecture for t in study.trials}) == 20
    assert all(t.started <= t.finished for t in study.trials)


def test_optuna_shows_the_trials(storage: str) -> None:
    if storage.startswith("memory"):
        pytest.skip("another process cannot open it")
    study = run(storage, name="for optuna", evaluator=Troubled(), strategy="random")
    opened: Any = storage
    if storage.startswith("journal"):
        backend = optuna.storages.journal.JournalFileBackend(storage.removeprefix("journal:///"))
        opened = optuna.storages.JournalStorage(backend)
    elif storage.startswith("postgresql"):
        opened = storage.replace("postgresql:", "postgresql+psycopg2:")
    seen = optuna.load_study(study_name="for optuna", storage=opened)
    assert study.best is not None
    assert seen.best_trial.number == study.best.number
    assert seen.direction == optuna.study.StudyDirection.MAXIMIZE
    states = {"complete": "COMPLETE", "failed": "FAIL"}
    for ours, theirs in zip(study.trials, seen.trials, strict=True):
        assert theirs.number == ours.number
        assert theirs.state.name == states[ours.status]
        values = [SPACE.choices[i].values[v] for i, v in enumerate(ours.architecture.values)]
        assert list(theirs.params.values()) == values
        assert theirs.user_attrs["architecture"] == SPACE.to_text(ours.architecture)
        curve = [point["validation_accuracy"] for point in ours.measurement.curve]
        assert list(theirs.intermediate_values.values()) == curve
        assert theirs.datetime_start is not None
        assert abs(theirs.datetime_start.timestamp() - ours.started.timestamp()) < 1e-3


def test_a_longer_search_continues_a_shorter_one(storage: str) -> None:
    whole = run(f"memory://{storage}-whole", 30, strategy="regularized-evolution")
    run(storage, 11, strategy="regularized-evolution", name="x")
    resumed = run(storage, 30, strategy="regularized-evolution", name="x")
    assert architectures(resumed) == architectures(whole)
    assert resumed.rewards().tolist() == whole.rewards().tolist()


def test_a_finished_study_returns_at_once(tmp_path: Path, sqlite: str) -> None:
    evaluator = Logged(tmp_path / "log")
    run(sqlite, 5, evaluator=evaluator)
    before = evaluator.path.read_text()
    assert len(run(sqlite, 5, evaluator=evaluator).trials) == 5
    assert len(run(sqlite, 3, evaluator=evaluator).trials) == 5
    assert evaluator.path.read_text() == before


def architectures(study: Study) -> list[Architecture]:
    """Return the architectures in the order of telling."""
    return [t.architecture for t in study.trials]


# What is made of the trials ------------------------------------------------------------------


def test_best_front_and_incumbents(sqlite: str) -> None:
    objectives = (Objective(), Objective("size", maximise=False))
    study = run(sqlite, 40, objectives=objectives)
    again = load_study(study.name, sqlite)
    assert again.objectives == objectives
    rewards = study.rewards()
    assert study.best is study.trials[int(np.argmax(rewards))]
    points = [(t.metrics["validation_accuracy"], -t.metrics["size"]) for t in study.trials]
    expected = [
        trial
        for trial, p in zip(study.trials, points, strict=True)
        if not any(q != p and q[0] >= p[0] and q[1] >= p[1] for q in points)
    ]
    assert study.front == expected
    assert len(expected) > 1
    found = study.incumbents()
    assert [value for _, _, value in found] == sorted({value for _, _, value in found})
    assert found[-1][0] == study.best.number
    assert found[0][:2] == (0, 2.0)
    assert all(cost == 2.0 * (number + 1) for number, cost, _ in found)


def test_without_a_result_there_is_no_best() -> None:
    study = run("memory://nothing", 3, evaluator=Hopeless())
    assert study.best is None
    assert study.front == []
    assert study.top(3) == []
    assert study.incumbents() == []


def test_the_top_are_the_best_of_different_networks() -> None:
    space = spaces.get("nasbench201")
    cells = [  # the second and third compute what the first does: dead edges differ alone
        space.architecture(codes)
        for codes in (
            (0, 0, 0, 3, 0, 0),
            (0, 0, 1, 3, 0, 0),
            (0, 0, 2, 3, 0, 0),
            (3,) * 6,
            (2,) * 6,
        )
    ]
    values = (0.7, 0.9, 0.9, 0.8, math.nan)
    moment = datetime.now(timezone.utc)
    trials = [
        Trial(i, arch, Measurement({"validation_accuracy": value}), moment, moment, i)
        for i, (arch, value) in enumerate(zip(cells, values, strict=True))
    ]
    definition = Definition("toy", space.name, "random")
    study = Study("top", "memory://", definition, space, trials)
    assert study.top(1) == [study.best] == [trials[1]]
    assert study.top(9) == [trials[1], trials[3]]


def test_the_front_of_many_trials_is_quick_and_right() -> None:
    objectives = tuple(Objective(name) for name in "abc")
    rng = np.random.default_rng(0)

    def study(count: int) -> Study:
        moment = datetime.now(timezone.utc)
        points = rng.integers(0, 50, size=(count, 3)) / 10
        trials = [
            Trial(
                i,
                SPACE.at(i % 99),
                Measurement(dict(zip("abc", p, strict=True))),
                moment,
                moment,
                i,
            )
            for i, p in enumerate(points.tolist())
        ]
        definition = Definition("toy", SPACE.name, "random", objectives=objectives)
        return Study("front", "memory://", definition, SPACE, trials)

    small = study(300)
    points = [tuple(t.metrics.values()) for t in small.trials]
    beaten = [
        any(q != p and all(a >= b for a, b in zip(q, p, strict=True)) for q in points)
        for p in points
    ]
    assert small.front == [t for t, b in zip(small.trials, beaten, strict=True) if not b]
    assert study(20_000).front  # a sweep: comparing all pairs would take minutes


def test_the_earliest_of_equals_is_best() -> None:
    class Constant(Evaluator):
        def evaluate(self, arch: Architecture, budget: Any = None, seed: int = 0) -> Measurement:
            return Measurement({"validation_accuracy": 0.5})

    study = run("memory://equal", 5, evaluator=Constant())
    assert study.best is study.trials[0]
    assert len(study.front) == 5


def test_final_tests_are_recorded(storage: str) -> None:
    study = run(storage, 3, name="tested")
    study.record_final_test("the best", {"test_accuracy": 0.5}, at="2026-01-01")
    again = load_study("tested", storage)
    again.record_final_test("another", {"test_accuracy": 0.25})
    subjects = [t["subject"] for t in load_study("tested", storage).final_tests]
    assert subjects == ["the best", "another"]
    assert study.final_tests[0]["metrics"] == {"test_accuracy": 0.5}


# Trouble -------------------------------------------------------------------------------------


def test_trials_fail_with_reasons_and_the_study_goes_on(sqlite: str) -> None:
    study = run(sqlite, 40, evaluator=Troubled(), timeout=0.3)
    reasons = {t.measurement.error for t in study.trials if t.status == "failed"}
    assert reasons >= {
        "ValueError: no such thing",
        "validation_accuracy is nan",
        "MemoryError",
        "timeout: not finished after 0.3 s",
    }
    assert str(load_study(study.name, sqlite).trials) == str(study.trials)  # NaN differs from NaN
    assert study.best is not None


def test_a_study_whose_first_trials_all_fail_stops(sqlite: str) -> None:
    with pytest.raises(SearchError, match=r"the first 10 trials .*not mounted.*the same command"):
        run(sqlite, 50, evaluator=Hopeless())
    (name,) = list_studies(sqlite)
    assert len(load_study(name, sqlite).trials) == 10


def test_a_search_that_has_its_trials_is_not_told_to_go_on_as_it_was() -> None:
    with pytest.raises(SearchError, match=r"all failed.*a greater --trials tries further ones"):
        run("memory://ten", 10, evaluator=Hopeless())


def test_an_evaluator_refusal_leaves_nothing_behind(tmp_path: Path, sqlite: str) -> None:
    with pytest.raises(InputError, match="epochs 7 are not known"):
        run(sqlite, evaluator=Refuses(), epochs=7)
    with pytest.raises(InputError, match="objective 'speed' is not measured; accepted: size, val"):
        run(sqlite, objectives="speed")
    assert list(tmp_path.iterdir()) == []


def test_an_objective_that_is_known_not_to_be_measured_is_refused_before_work() -> None:
    class Declared(Sum):
        def reports(self) -> frozenset[str]:
            return frozenset({"size", "validation_accuracy"})

        def evaluate(self, arch: Architecture, budget: Any = None, seed: int = 0) -> Measurement:
            raise AssertionError("worked")

    message = "objective 'speed' is not measured; accepted: size, validation_accuracy"
    for evaluator in (Declared(), Combined([Declared(), Declared()])):
        with pytest.raises(InputError, match=message):
            run("memory://declared", evaluator=evaluator, objectives=["size", "speed"])


def test_a_refusal_of_one_architecture_fails_that_trial(sqlite: str) -> None:
    class Picky(Sum):
        def evaluate(self, arch: Architecture, budget: Any = None, seed: int = 0) -> Measurement:
            if arch.values[0] == 3:
                raise InputError("edge 0>1 has value nor_conv_3x3; accepted: others")
            return super().evaluate(arch, budget, seed)

    study = run(sqlite, 30, evaluator=Picky())
    refused = [t for t in study.trials if t.status == "failed"]
    assert refused
    assert all(t.architecture.values[0] == 3 for t in refused)
    assert refused[0].measurement.error.startswith("edge 0>1")


def test_a_resumed_study_whose_evaluations_no_longer_work_stops(sqlite: str) -> None:
    run(sqlite, 5, evaluator=type("Tomorrow", (Sum,), {})())
    with pytest.raises(SearchError, match="not mounted"):
        run(sqlite, 99, evaluator=type("Tomorrow", (Hopeless,), {})())
    assert run(sqlite, 30, evaluator=type("Tomorrow", (Sum,), {})()).best is not None


def test_what_was_under_way_when_a_search_was_stopped_does_not_overshoot_a_smaller_one() -> None:
    class Stopped(Sum):
        calls = 0

        def evaluate(self, *arguments: Any, **options: Any) -> Measurement:
            self.calls += 1
            if self.calls == 7:
                raise KeyboardInterrupt
            return super().evaluate(*arguments, **options)

    options: dict[str, Any] = {"workers": "simulated:3", "strategy": "regularized-evolution"}
    url = "memory://overshoot"
    stopped = run(url, 12, evaluator=type("Same", (Stopped,), {})(), **options)
    assert stopped.interrupted
    same = type("Same", (Sum,), {})()
    assert len(stopped.trials) == 4
    assert len(run(url, 5, evaluator=same, **options).trials) == 5
    whole = run(url, 12, evaluator=same, **options)
    assert len({t.architecture for t in whole.trials}) == len(whole.trials) == 12


def test_exhaustion_ends_a_search(sqlite: str) -> None:
    class Small(Space):
        name = "small"
        choices = (Choice("a", ("x", "y")), Choice("b", ("x", "y", "z")))

    task = DataTask("mine", Signature((1, 8, 8), 2), train=[], validation=[])  # type: ignore[arg-type]
    study = search(
        task, Small(), strategy="random", trials=50, storage=sqlite, evaluator=Sum(), name="s"
    )
    assert len(study.trials) == 6


def test_numbers_beside_choices_read_back_exactly(storage: str) -> None:
    class Numbered(Space):
        name = "numbered"
        choices = (Choice("a", ("x", "y")),)
        ranges = (Range("rate", 1e-4, 0.3, log=True),)

    task = DataTask("mine", Signature((1, 8, 8), 2), train=[], validation=[])  # type: ignore[arg-type]

    def once(trials: int) -> Study:
        return search(
            task,
            Numbered(),
            strategy="random",
            trials=trials,
            storage=storage,
            evaluator=Sum(),
            name="numbers",
        )

    first = once(5)
    assert once(9).trials[:5] == first.trials


# Refusals ------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"trials": 0}, "trials 0"),
    ({"trials": -3}, "trials -3"),
    ({"epochs": 0}, "epochs 0"),
    ({"seed": -1}, "seed -1"),
    ({"workers": 0}, "workers 0"),
    ({"workers": "rays"}, "workers 'rays'"),
    ({"workers": "ray:x"}, "workers 'ray:x'"),
    ({"timeout": -1.0}, "timeout -1.0"),
    ({"timeout": float("inf")}, "timeout inf"),
    ({"timeout": float("nan")}, "timeout nan"),
    ({"name": ""}, "name ''"),
    ({"name": "a\nb"}, "printable"),
    ({"name": "x" * 501}, "1 to 500"),
    ({"space": ""}, "space ''"),
    ({"strategy": ""}, "strategy ''"),
    ({"trials": 2.5}, "trials 2.5"),
    ({"learn_from": "", "strategy": None}, "storage '' is not a URL"),
    ({"retries": -1}, "retries"),
    ({"strategy": "evolution"}, "strategy 'evolution' is unknown"),
    ({"space": "nasbench202"}, "did you mean 'nasbench201'"),
    ({"space": "transnas101-micro"}, "does not fit task 'toy'"),
    ({"settings": {"populations": 3}}, "setting 'populations'"),
    ({"objectives": []}, "objectives are empty"),
    ({"objectives": ["a", "a"]}, "twice"),
]


@pytest.mark.parametrize(("options", "message"), WRONG, ids=[m for _, m in WRONG])
def test_wrong_input_is_refused_before_anything_is_written(
    options: dict[str, Any], message: str, tmp_path: Path, sqlite: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(sqlite, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x" * 300, f"new/{'x' * 300}", f"new/{'x' * 300}/y", "new/a\0b"])
def test_folders_that_cannot_be_made_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no file has such a name .*; accepted: a path"):
        require_folder(tmp_path / name)
    assert require_folder(tmp_path / "new" / "folder") == tmp_path / "new" / "folder"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("studies.db", "not a URL"),
        ("sqlite:///{}/none/studies.db", "folder .* does not exist"),
        ("sqlite:///{}", "is a folder"),
        ("sqlite:///{}/not-a-database", "not a database"),
        ("sqlite://", "no file"),
        ("sqlite:///{}/x\0y.db", "no file has such a name"),
        ("sqlite:///{}/x.db?colour=red", "cannot be opened"),
        ("postgresql://host:port/x", "not a URL"),
        ("postgresql://127.0.0.1:1/x", "cannot be opened"),
        ("mongodb://host/x", "cannot be opened"),
        ("journal:///{}/none/x.log", "folder .* does not exist"),
        ("journal:///{}/not-a-database", "cannot be opened"),
    ],
)
def test_storages_that_cannot_be_opened(url: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "not-a-database").write_text("a letter to a friend\n" * 99)
    with pytest.raises(InputError, match=message):
        run(url.format(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["not-a-database"]


def test_reading_creates_nothing(tmp_path: Path, sqlite: str) -> None:
    for url in (sqlite, f"journal:///{tmp_path}/x.log"):
        with pytest.raises(InputError, match="does not exist"):
            list_studies(url)
    assert list(tmp_path.iterdir()) == []
    run(sqlite, 2, name="here")
    with pytest.raises(InputError, match="study 'hear' is unknown; did you mean 'here'"):
        load_study("hear", sqlite)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "regularized-evolution"}, "strategy 'regularized-evolution' does not fit"),
        ({"seed": 1}, "seed 1 does not fit study 'x' .* has 0"),
        ({"epochs": 12}, "epochs 12 does not fit .* has none"),
        (
            {"objectives": ["size", Objective("latency_ms", False)]},
            "^objectives size, latency_ms:min does not fit study 'x' .* has validation_accuracy;",
        ),
        ({"evaluator": Troubled()}, "evaluator 'Troubled' does not fit .* 'Sum'"),
    ],
)
def test_another_definition_is_refused(options: dict[str, Any], message: str, sqlite: str) -> None:
    run(sqlite, 3, name="x")
    with pytest.raises(InputError, match=message):
        run(sqlite, 9, name="x", **options)
    assert len(load_study("x", sqlite).trials) == 3


def test_a_script_is_recorded_as_one_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["examples/demo.py", "a b"])
    assert environment(None)["command"] == "python examples/demo.py 'a b'"
    assert environment("transnas search")["command"] == "transnas search"


def test_another_space_is_refused(sqlite: str) -> None:
    task = DataTask("mine", Signature((3, 32, 32), 10), train=[], validation=[])  # type: ignore[arg-type]
    options: dict[str, Any] = {"storage": sqlite, "evaluator": Sum(), "name": "x", "trials": 2}
    search(task, "nasbench201", "random", **options)
    with pytest.raises(InputError, match="space 'transnas101-micro' does not fit study 'x'"):
        search(task, "transnas101-micro", "random", **options)


def test_a_study_of_somebody_else_is_left_alone(sqlite: str) -> None:
    theirs = optuna.create_study(storage=sqlite, study_name="x", direction="maximize")
    theirs.add_trial(optuna.trial.create_trial(value=1.0))
    with pytest.raises(InputError, match="was not made by transnas"):
        run(sqlite, 3, name="x")
    assert list_studies(sqlite) == []


def test_a_newer_format_is_refused(sqlite: str) -> None:
    run(sqlite, 3, name="x")
    stored = optuna.load_study(study_name="x", storage=sqlite)
    stored.set_user_attr("definition", {**stored.user_attrs["definition"], "format": 99})
    with pytest.raises(InputError, match="format 99 cannot be read"):
        load_study("x", sqlite)


def test_a_timeout_outside_the_main_thread_is_refused(sqlite: str) -> None:
    raised: list[InputError] = []

    def attempt() -> None:
        try:
            run(sqlite, 3, timeout=1.0)
        except InputError as error:
            raised.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "needs the main thread" in str(raised[0])


def test_costs_of_failed_trials_count(sqlite: str) -> None:
    class Slow(Evaluator):
        def evaluate(self, arch: Architecture, budget: Any = None, seed: int = 0) -> Measurement:
            if arch.values[0] % 2:
                return Measurement.failed("odd", Cost(5.0))
            return Measurement({"validation_accuracy": 0.1 + arch.values[1] / 10}, Cost(1.0))

    study = run(sqlite, 15, evaluator=Slow())
    numbers: Sequence[int] = [n for n, _, _ in study.incumbents()]
    for number, cost, _ in study.incumbents():
        assert cost == sum(t.measurement.cost.seconds for t in study.trials[: number + 1])
    assert all(study.trials[n].status == "complete" for n in numbers)


def test_other_data_of_the_same_name_are_refused(tmp_path: Path, sqlite: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), np.arange(40) % 2
    changed = x.copy()
    changed[7] += 1
    for folder, images, labels in (("a", x, y), ("copy", x, y), ("b", changed, y), ("c", x, 1 - y)):
        (tmp_path / folder).mkdir()
        np.savez(tmp_path / folder / "data.npz", images=images, labels=labels)

    def on(folder: str) -> Study:
        path = tmp_path / folder / "data.npz"
        return search(path, SPACE, "random", 1, evaluator=Sum(), storage=sqlite, progress=False)

    assert on("a").task == "data"
    assert len(on("copy").trials) == 1  # the same data elsewhere
    for folder in ("b", "c"):
        with pytest.raises(InputError, match=r"data '.*' does not fit study .* the same"):
            on(folder)


def test_studies_from_before_data_had_digests_go_on() -> None:
    stored = Definition("data", SPACE.name, "random")
    stored.require(replace(stored, data="0123456789abcdef"), "study 'old'")
    with pytest.raises(InputError, match="data none does not fit study 'new'"):
        replace(stored, data="0123456789abcdef").require(stored, "study 'new'")


def test_own_data_do_not_continue_a_study_of_the_built_in_task_of_their_name() -> None:
    stored = Definition("digits", SPACE.name, "random")
    stored.require(stored, "study 'digits'")
    with pytest.raises(InputError, match=r"data '0123.*' does not fit .* which has none"):
        stored.require(replace(stored, data="0123456789abcdef"), "study 'digits'")
