"""Every command end to end, as its user sees it; what is printed as next step works."""

from __future__ import annotations

import json
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import transnas
from transnas import spaces
from transnas.cli import main
from transnas.cli._main import _stopped
from transnas.cli._search import _next_steps, _with_trials
from transnas.cli._variadic import spread
from transnas.evaluation import Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.studies import Comparison, load_study
from transnas.tasks import DataTask, Signature

CIFAR = "nasbench201/cifar10"
STORAGE = "sqlite:///studies.db"
SKIPS = "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|nor_conv_1x1~2|"


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


class Half(Evaluator):
    """Finds all alike."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        return Measurement({"validation_accuracy": 0.5})


def run(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line that must succeed, and return what it printed."""
    code = main(shlex.split(line))
    printed = capsys.readouterr()
    assert code == 0, printed.err
    return printed.out


def test_a_search_prints_its_best_and_commands_that_work(
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = run(f"search --task {CIFAR} --trials 12 --set sample=2 --storage {STORAGE}", capsys)
    study = load_study(f"{CIFAR}-regularized-evolution-seed0", STORAGE)
    assert study.best is not None
    assert study.space.to_text(study.best.architecture) in out
    assert f"after {study.best.number + 1} of 12 trials" in out  # numbers begin at 0
    assert study.settings["sample"] == 2
    assert study.info["command"].startswith("transnas search --task")
    steps = re.findall(r"^  (?:look|go on) +transnas (.*)$", out, re.M)
    assert len(steps) == 2
    for step in steps:
        run(step, capsys)
    assert len(load_study(study.name, STORAGE).trials) == 24
    assert Path("report.html").read_text().startswith("<!doctype html>")
    # Repeating the command finds the study done, and measures nothing again.
    again = run(f"search --task {CIFAR} --trials 12 --set sample=2 --storage {STORAGE}", capsys)
    assert study.name in again
    assert len(load_study(study.name, STORAGE).trials) == 24


def test_a_folder_with_the_name_of_a_built_in_task_is_named_in_the_next_steps() -> None:
    study = transnas.search(
        "digits", "nasbench201", "random", 1, storage="memory://own", evaluator=Half()
    )
    study = replace(study, definition=replace(study.definition, evaluator="Training", data="aa"))
    assert "--task ./digits " in _next_steps(study, "./digits", 1, ["search"])
    assert "--task" not in _next_steps(study, "digits", 1, ["search"])


def test_every_option_of_search_reaches_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    run(
        f"search --task {CIFAR} --space nasbench201 --strategy random --trials 6 --epochs 200 "
        f"--seed 3 --storage {STORAGE} --name mine --workers 1 --timeout 60 --retries 0 "
        "--objective validation_accuracy:min",
        capsys,
    )
    study = load_study("mine", STORAGE)
    assert (study.seed, study.budget, study.strategy) == (3, 200, "random")
    assert [(o.metric, o.maximise) for o in study.objectives] == [("validation_accuracy", False)]
    worst = min(t.metrics["validation_accuracy"] for t in study.trials)
    assert study.best is not None
    assert study.best.metrics["validation_accuracy"] == worst


def test_what_was_learnt_is_adapted_to_the_next_task(capsys: pytest.CaptureFixture[str]) -> None:
    pool = "nasbench201/cifar100 nasbench201/imagenet16-120"
    small = "--rounds 2 --queries 6 --set hidden=8 --set updates=1"
    out = run(f"learn --method catch --tasks {pool} {small} --out prior", capsys)
    assert "transnas adapt prior" in out
    out = run(f"adapt prior --task {CIFAR} --trials 7 --storage {STORAGE}", capsys)
    study = load_study(f"{CIFAR}-catch-seed0", STORAGE)
    assert (len(study.trials), study.settings["hidden"]) == (7, 8)
    (again,) = re.findall(r"^  go on +transnas (.*)$", out, re.M)
    run(again, capsys)
    assert len(load_study(study.name, STORAGE).trials) == 14


def test_earlier_studies_help_the_next(capsys: pytest.CaptureFixture[str]) -> None:
    run(f"search --task {CIFAR} --strategy random --trials 40 --storage {STORAGE}", capsys)
    new = "nasbench201/cifar100"
    out = run(f"search --task {new} --learn-from {STORAGE} --trials 4 --storage {STORAGE}", capsys)
    assert "store-transfer" in out
    study = load_study(f"{new}-store-transfer-seed0", STORAGE)
    assert study.info["learn_from"][0]["task"] == CIFAR


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    run(f"search --task {CIFAR} --trials 3 --storage {STORAGE} --name one", capsys)
    assert "15,625 architectures" in run("list spaces", capsys)
    assert {"digits", CIFAR} <= set(run("list tasks", capsys).split())
    listed = run("list strategies", capsys)
    for name in transnas.strategies.names():
        assert re.search(rf"^{re.escape(name)}( |$)", listed, re.M)
    assert "population=10" in listed
    assert re.search(r"^one +3 trials, best", run(f"list studies --storage {STORAGE}", capsys))


def test_show_prints_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    cell = spaces.get("nasbench201")
    arch = cell.at(6111)
    forms = ("6111", shlex.quote(cell.to_text(arch)), shlex.quote(cell.to_json(arch)))
    printed = {run(f"show {form} --task digits", capsys) for form in forms}
    assert len(printed) == 1
    out = printed.pop()
    assert f"index      6111 of {cell.size:,}" in out
    assert cell.to_json(arch) in out
    assert out.count(" -> ") == len(cell.graph(arch).edges)
    assert re.search(r"parameters +[\d,]+\n", out)
    run("show 22212220 --space nasbench-macro --svg chain.svg", capsys)
    assert Path("chain.svg").read_text().startswith("<svg xmlns=")


def test_compare_writes_tables_json_and_curves(capsys: pytest.CaptureFixture[str]) -> None:
    out = run(
        f"compare --methods random local-search --tasks {CIFAR} nasbench201/cifar100 --seeds 4 "
        "--trials 10 --json found.json --plot curves.svg",
        capsys,
    )
    assert out.count("local-search") >= 2
    found = Comparison.from_json(Path("found.json").read_text())
    assert (found.methods, found.trials) == (("random", "local-search"), 10)
    assert found.info["command"].startswith("transnas compare --methods random local-search")
    assert Path("curves.svg").exists()
    run("report --comparison found.json --out page.html --title Together", capsys)
    assert "<h1>Together</h1>" in Path("page.html").read_text()


def test_compare_on_data_runs_studies_and_continues(capsys: pytest.CaptureFixture[str]) -> None:
    budget = "--seeds 1 --trials 1 --epochs 1"
    line = f"compare --methods random --tasks digits {budget} --storage {STORAGE}"
    first = run(line, capsys)
    study = load_study("compare-digits-random-seed0", STORAGE)
    assert len(study.trials) == 1
    assert run(line, capsys) == first  # the trial is not done again: its cost is the same


def test_the_winner_is_trained_tested_and_exported(capsys: pytest.CaptureFixture[str]) -> None:
    arch = shlex.quote(SKIPS)
    out = run(f"train {arch} --task digits --epochs 2 --out net --format safetensors", capsys)
    accuracy = re.search(r"test_accuracy +([\d.]+)%", out)
    assert accuracy is not None
    about = json.loads(Path("net/network.json").read_text())
    assert about["metadata"]["classes"] == [str(d) for d in range(10)]
    tested = about["metadata"]["final_test"]["metrics"]["test_accuracy"]
    assert 100 * tested == pytest.approx(float(accuracy[1]), abs=0.01)
    out = run("export net --format torch --out other", capsys)
    assert "torch: outputs differ by" in out
    assert [p.name for p in Path("other").iterdir()] == ["network.pt2"]


def test_a_cell_is_transferred_to_a_larger_network(capsys: pytest.CaptureFixture[str]) -> None:
    given = "--skeleton channels=4 --skeleton cells=2 --recipe batch_size=256"
    run(f"train {shlex.quote(SKIPS)} --task digits --epochs 1 {given} --format safetensors", capsys)
    about = json.loads(Path("network/network.json").read_text())["built"]
    assert about["skeleton"] == {"channels": 4, "cells": 2}


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ("--skeleton colour=2", "skeleton setting 'colour' is unknown"),
        ("--skeleton cells=0", "'cells' is 0; accepted: whole numbers from 1"),
        ("--skeleton cells", "'cells' is not readable; accepted: name=value"),
        ("--recipe momentum=2", "'momentum' is 2.0; accepted: numbers from 0 to 1"),
        ("--recipe drop_path=0.2", "accepted above 0 only for networks of cells"),
    ],
)
def test_unfit_skeletons_and_recipes_are_refused(
    given: str, accepted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(f"train {shlex.quote(SKIPS)} --task digits --epochs 1 {given}")) != 0
    assert accepted in capsys.readouterr().err


def test_a_studys_winner_leaves_its_test_in_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    run(f"search --task digits --trials 1 --epochs 1 --storage {STORAGE} --name d", capsys)
    run(f"train --study d --storage {STORAGE} --epochs 1 --out net --format safetensors", capsys)
    study = load_study("d", STORAGE)
    assert study.best is not None
    (test,) = study.final_tests
    assert study.space.to_text(study.best.architecture) in test["subject"]
    assert "on digits after 1 epochs, seed 0" in test["subject"]
    assert 0 <= test["metrics"]["test_accuracy"] <= 1
    other = "--task digits:limit=9 --epochs 1 --format safetensors"
    run(f"train --study d --storage {STORAGE} {other}", capsys)
    assert " on digits:limit=9 after" in load_study("d", STORAGE).final_tests[1]["subject"]


def test_a_studys_best_few_are_trained_alike_before_one_is_tested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(
        f"search --task digits:limit=9 --trials 3 --epochs 1 --storage {STORAGE} --name d "
        "--strategy random",
        capsys,
    )
    given = f"--storage {STORAGE} --epochs 1 --format safetensors --out net"
    out = run(f"train --study d --top 2 {given}", capsys)
    about = json.loads(Path("net/network.json").read_text())["metadata"]
    kept = about["training"]["finalists"]
    study = load_study("d", STORAGE)
    best = [study.space.to_text(t.architecture) for t in study.top(2)]
    assert {f["architecture"] for f in kept} == set(best)
    assert kept[0]["validation_accuracy"] >= kept[1]["validation_accuracy"]
    assert out.count("finalist ") == 2
    assert f"architecture   {kept[0]['architecture']}" in out
    assert len(study.final_tests) == 1
    assert main(shlex.split(f"train 0 --task digits --top 2 {given}")) == 2
    assert "top is 2 with one architecture" in capsys.readouterr().err
    assert main(shlex.split(f"train --study d --top 0 {given}")) == 2


def test_a_network_outlives_a_study_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(f"search --task digits:limit=5 --trials 1 --epochs 1 --storage {STORAGE} --name d", capsys)
    with closing(sqlite3.connect("studies.db")) as database:
        database.execute(
            "CREATE TRIGGER full BEFORE INSERT ON study_user_attributes "
            "BEGIN INSERT INTO absent VALUES (1); END"
        )
    given = f"--storage {STORAGE} --epochs 1 --format safetensors --out net"
    assert main(shlex.split(f"train --study d {given}")) == 1
    printed = capsys.readouterr()
    assert "studies.db cannot be written" in printed.err
    assert "final tests are not recorded" in printed.err
    assert "net/network.safetensors" in printed.out
    written = {"network.json", "network.safetensors"}
    assert {file.name for file in Path("net").iterdir()} == {*written, "training.checkpoint"}
    assert load_study("d", STORAGE).final_tests == []
    with closing(sqlite3.connect("studies.db")) as database:
        database.execute("DROP TRIGGER full")
    again = run(f"train --study d {given}", capsys)
    assert "epoch" not in again  # all epochs are in the checkpoint
    assert {file.name for file in Path("net").iterdir()} == written
    assert len(load_study("d", STORAGE).final_tests) == 1


def test_passwords_are_not_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    from types import SimpleNamespace

    from transnas.cli._search import command_line

    context = SimpleNamespace(obj=["search", "--storage", "postgresql://me:secret@host/db"])
    assert "secret" not in command_line(context)  # type: ignore[arg-type]
    assert "me:***@host/db" in command_line(context)  # type: ignore[arg-type]


def trials_of(name: str) -> int:
    """Return how many trials a study has by now; 0 if there is none yet."""
    try:
        return len(load_study(name, STORAGE).trials)
    except transnas.InputError:
        return 0


def test_ctrl_c_ends_cleanly_and_says_how_to_go_on() -> None:
    arguments = ["search", "--task", CIFAR, "--strategy", "tpe", "--trials", "15000",
                 "--storage", STORAGE, "--name", "long"]  # fmt: skip
    program = [sys.executable, "-c", "import sys; from transnas.cli import main; sys.exit(main())"]
    with subprocess.Popen(
        [*program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            deadline = time.monotonic() + 60
            while not trials_of("long") and time.monotonic() < deadline:
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()  # one that did not stop would go on for hours
    assert process.returncode == 130
    assert "Traceback" not in err
    assert f"go on  transnas {shlex.join(arguments)}" in out
    assert "the same command continues" in err
    assert 0 < trials_of("long") < 15_000


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("search --task digits", "continues where it was"),
        ("adapt prior --task digits", "continues where it was"),
        ("adapt prior --task digits --shots=5", "begins anew"),
        ("train --study digits", "continues where it was"),
        ("export winner", "begins anew"),
        ("", "begins anew"),
    ],
)
def test_what_ctrl_c_leaves_is_told(line: str, said: str) -> None:
    assert _stopped(shlex.split(line)).endswith(said)


def test_a_search_without_a_result_fails_with_the_last_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    line = f"search --task digits --trials 2 --epochs 1 --timeout 0.0001 --storage {STORAGE}"
    for _ in range(2):  # the second time, nothing is left to do
        assert main(shlex.split(line)) == 1
        printed = capsys.readouterr()
        assert "all 2 trials failed, the last with: timeout" in printed.err
        assert "a greater --trials tries further ones" in printed.err
        assert "--trials 4" in printed.out


def test_a_study_that_cannot_be_read_here_is_listed_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Elsewhere(spaces.Space):
        name = "elsewhere"
        choices = (spaces.Choice("a", ("x", "y")),)

    task = DataTask("mine", Signature((1, 8, 8), 2), train=[], validation=[])  # type: ignore[arg-type]
    transnas.search(
        task, Elsewhere(), "random", 1, storage=STORAGE, name="theirs", evaluator=Half()
    )
    run(f"search --task {CIFAR} --trials 2 --name ours --storage {STORAGE}", capsys)
    theirs, ours = run(f"list studies --storage {STORAGE}", capsys).splitlines()
    assert theirs.startswith("theirs  cannot be read: space 'elsewhere' is unknown")
    assert ours.startswith("ours    2 trials, best ")


def test_searches_may_begin_together_on_a_new_storage() -> None:
    program = [sys.executable, "-m", "transnas"]
    arguments = ["search", "--task", CIFAR, "--trials", "5", "--storage", STORAGE, "--name"]
    running = [
        subprocess.Popen([*program, *arguments, name], stderr=subprocess.PIPE, text=True)
        for name in "abcd"
    ]
    for process in running:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
    assert [trials_of(name) for name in "abcd"] == [5, 5, 5, 5]


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from transnas.cli import main; main(['--help']); "
        "print({'torch', 'optuna', 'scipy', 'matplotlib', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.rstrip().endswith("set()")
    for command in ("search", "report", "train", "export", "compare", "list", "show"):
        assert command in done.stdout


def test_version_and_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version", capsys) == f"transnas {transnas.__version__}\n"
    assert "Usage: transnas" in run("", capsys)
    for command in ("search", "report", "train", "export", "compare", "list", "show"):
        assert f"transnas {command}" in run(f"{command} --help", capsys)


# Options with several values -----------------------------------------------------------------


WORDS = st.text("ab=/", min_size=1, max_size=3)


@given(st.lists(st.tuples(st.sampled_from(["--m", "--t"]), st.lists(WORDS, min_size=1))))
def test_spread_gives_each_value_its_option(groups: list[tuple[str, list[str]]]) -> None:
    given_ = [word for option, values in groups for word in (option, *values)]
    expected = [w for option, values in groups for v in values for w in (option, v)]
    assert spread(given_, ["--m", "--t"]) == expected


def test_spread_leaves_other_options_alone() -> None:
    words = ["--a", "1", "--m", "x", "y", "--m=z", "--b", "2", "3"]
    expected = ["--a", "1", "--m", "x", "--m", "y", "--m=z", "--b", "2", "3"]
    assert spread(words, ["--m"]) == expected


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        ("search --task x", "search --task x --trials 9"),
        ("search --trials 3 --task x", "search --task x --trials 9"),
        ("search --trials=3 --task x", "search --task x --trials 9"),
        ("search --task x --trials 3 --seed 1", "search --task x --seed 1 --trials 9"),
    ],
)
def test_the_number_of_trials_is_replaced(given_: str, expected: str) -> None:
    assert shlex.join(_with_trials(given_.split(), 9)) == expected
