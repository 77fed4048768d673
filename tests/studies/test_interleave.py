"""`interleave` as its user sees it: a whole run, an interrupted one, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transnas import InputError, spaces, studies, tasks
from transnas.cli import main
from transnas.meta.interleaved import Interleaving
from transnas.meta.interleaved.baselines import BASELINES
from transnas.studies import _interleave
from transnas.studies.export import load_network
from transnas.tasks import DataTask

QUICK = ["--iterations=3", "--epochs=1", "--set=batch_size=8", "--set=anchors=2", "--set=views=2"]
SETTINGS: dict[str, Any] = {"batch_size": 8, "anchors": 2, "views": 2}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return two files of bright rows and bright columns, on 8x8 pixels."""
    folder = tmp_path_factory.mktemp("pair")
    rng, labels = np.random.default_rng(0), np.arange(40) % 2
    for name in ("rows", "columns"):
        images = rng.integers(0, 60, (40, 8, 8), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            view = image if name == "rows" else image.T
            view[4 * label : 4 * label + 4] += 150
        np.savez(folder / f"{name}.npz", x=images, y=labels)
    return [str(folder / f"{name}.npz") for name in ("rows", "columns")]


def lasting(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without times."""
    text = json.dumps({k: v for k, v in record.items() if k != "environment"})
    found: dict[str, Any] = json.loads(text, object_hook=_timeless)
    return found


def pair_names(record: dict[str, Any]) -> list[str]:
    """Return the tasks and the architecture's edges of a record."""
    (text,) = set(record["methods"]["interleaved"]["architectures"].values())
    return [*record["definition"]["tasks"], *text.strip("|").split("|+|")[0].split("|")]


def _timeless(value: dict[str, Any]) -> dict[str, Any]:
    timed = ("seconds", "transfer_seconds", "task_seconds", "tested")
    return {k: v for k, v in value.items() if k not in timed}


def test_a_run_with_baselines(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["interleave", "--tasks", *pair, *QUICK, "--out", str(tmp_path / "out"), "--baselines"]
    assert main(line) == 0, capsys.readouterr().err
    printed = capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert list(record["methods"]) == ["interleaved", *BASELINES]
    assert record["definition"]["setting iterations"] == 3
    assert record["environment"]["command"].startswith("transnas interleave --tasks")
    assert [p["iteration"] for p in record["curves"]] == [1, 2, 3]
    for name, row in record["methods"].items():
        assert re.search(rf"^ *{name} ", printed, re.M)
        for task in ("rows", "columns"):
            spaces.get("nasbench201").from_text(row["architectures"][task])
            assert 0 <= row["tasks"][task]["metrics"]["test_accuracy"] <= 1
            assert row["tasks"][task]["metrics"]["parameters"] > 0
            assert len(row["tasks"][task]["curve"]) == 1
    main_ = record["methods"]["interleaved"]
    assert len(set(main_["architectures"].values())) == 1
    assert main_["architectures"]["rows"] in printed.replace("\n", "")
    page = (tmp_path / "out" / "report.html").read_text()
    for shown in (*pair_names(record), *BASELINES, "The shared architecture", "by round"):
        assert shown in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org", "")
    network = load_network(tmp_path / "out" / "networks" / "rows")
    parameters = sum(p.numel() for p in network.parameters())
    assert parameters == main_["tasks"]["rows"]["metrics"]["parameters"]
    # Done is done: the same command changes nothing, not even times.
    before = (tmp_path / "out" / "result.json").read_bytes()
    assert main(line) == 0
    assert (tmp_path / "out" / "result.json").read_bytes() == before


@pytest.mark.parametrize("where", ["search", "training"])
def test_an_interrupted_run_goes_on(
    where: str, pair: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(out: str) -> dict[str, Any]:
        return studies.interleave(
            pair, out=tmp_path / out, iterations=3, epochs=1, settings=SETTINGS
        )

    whole = run("whole")
    monkeypatch.setattr(_interleave, "SAVE_EVERY", 0.0)
    owner, name = (Interleaving, "advance") if where == "search" else (
        _interleave, "train_separately"
    )  # fmt: skip
    real, calls = getattr(owner, name), []

    def counted(*args: Any) -> Any:
        calls.append(1)
        if len(calls) == (8 if where == "search" else 2):
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(owner, name, counted)
    with pytest.raises(KeyboardInterrupt):
        run("stopped")
    resumed = run("stopped")
    # 3 iterations of 4 stages and an architecture step; 2 networks; one was interrupted.
    assert len(calls) == (3 * 5 + 1 if where == "search" else 3)
    assert lasting(resumed) == lasting(whole)
    assert json.loads((tmp_path / "stopped" / "result.json").read_text()) == resumed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--tasks", "ROWS"], r"tasks are .*rows\.npz; accepted: two or more"),
        (["--tasks", "ROWS", "ROWS"], "tasks are rows, rows; accepted: different ones"),
        (["--tasks", "ROWS", "nasbench201/cifar10"], "'nasbench201/cifar10' has no data to train"),
        (["--tasks", "ROWS", "nowhere"], "'nowhere'"),
        (["--tasks", "PAIR", "--preset", "jont"], "preset 'jont' is unknown; did you mean 'joint'"),
        (["--tasks", "PAIR", "--method", "dart"], "method 'dart' is unknown; did you mean 'darts'"),
        (["--tasks", "PAIR", "--set", "colour=1"], "setting of interleaved search 'colour' is unk"),
        (["--tasks", "PAIR", "--set", "views=a"], "setting 'views' has value 'a'; accepted"),
        (["--tasks", "PAIR", "--set", "rounds=3"], "setting 'rounds' is an option of its own"),
        (["--tasks", "PAIR", "--rounds", "0"], "'rounds' is 0; accepted: whole numbers from 1"),
        (["--tasks", "PAIR", "--epochs", "0"], "epochs"),
        (["--tasks", "PAIR", "--seed", "-1"], "seed -1 is not accepted"),
        (["--tasks", "PAIR", "--space", "nasbench"], "space 'nasbench' is unknown"),
    ],
)
def test_what_is_refused(
    arguments: list[str],
    sentence: str,
    pair: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words: dict[str, list[str]] = {"ROWS": pair[:1], "PAIR": pair}
    spelt = [text for word in arguments for text in words.get(word, [word])]
    assert main(["interleave", *spelt, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(sentence, line), line
    assert not (tmp_path / "out").exists()


def test_baselines_that_cannot_do_are_refused_before_the_search(
    pair: list[str], tmp_path: Path
) -> None:
    rows = tasks.get(pair[0])
    assert isinstance(rows, DataTask)
    four = replace(rows, name="four", signature=replace(rows.signature, input_shape=(4, 8, 8)))
    for others, space, sentence in (
        ([rows, four], "nasbench201", "task 'rows' in 4 channels, but channels 4 is not accepted"),
        (pair, "darts-s2", "space 'darts-s2' has no known design"),
    ):
        with pytest.raises(InputError, match=sentence):
            studies.interleave(others, out=tmp_path / "out", space=space, baselines=True)
    assert not (tmp_path / "out").exists()


def test_other_kinds_and_other_records_are_refused(
    pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tasks.get(pair[0])
    assert isinstance(rows, DataTask)
    masks = replace(rows, name="masks", signature=replace(rows.signature, kind="segmentation"))
    with pytest.raises(InputError, match="no stages; accepted: nasbench201, proxyless"):
        studies.interleave([rows, masks], out=tmp_path, space="darts")
    line = ["interleave", "--tasks", *pair, "--out", str(tmp_path)]
    (tmp_path / "result.json").write_text('{"definition": {"seed": 5}, "methods": {}}')
    assert main(line) == 2
    assert "accepted: the same, or another folder" in capsys.readouterr().err
    (tmp_path / "result.json").write_text("{")
    assert main(line) == 2
    assert "result.json' is not readable; accepted" in capsys.readouterr().err
