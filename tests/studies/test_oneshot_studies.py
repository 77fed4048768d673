"""One-shot methods in studies: a trial is a whole search, checkpointed beside the storage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import transnas
from transnas import InputError, oneshot, tasks
from transnas.evaluation import Found, Measurement, Training
from transnas.spaces import Architecture
from transnas.studies import load_study
from transnas.studies.report import report_html

SETTINGS = {"epochs": 2, "batch_size": 512, "logits_learning_rate": 0.1}


def small(storage: str, **options: Any) -> transnas.Study:
    task = tasks.get("digits")
    from transnas import spaces

    alone = Training(task, spaces.get("nasbench201"), skeleton={"channels": 2, "cells": 1})
    given = {"strategy": "gdas", "settings": SETTINGS, "epochs": 1, "progress": False}
    return transnas.search(
        task, "nasbench201", storage=storage, evaluator=alone, **{**given, **options}
    )


def test_a_trial_is_a_search_and_a_training_of_what_it_found(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/a.db"
    study = small(storage)
    (trial,) = study.trials
    found = trial.measurement.found
    assert found is not None
    assert trial.architecture == found.architecture
    assert trial.measurement.cost.epochs == 3
    assert trial.metrics["search_epochs"] == 2
    assert trial.measurement.cost.seconds > trial.metrics["search_seconds"] > 0
    assert [("skips" in p, "validation_accuracy" in p) for p in trial.measurement.curve] == [
        (True, False), (True, False), (False, True),
    ]  # fmt: skip
    assert len(found.record["shares"]) == len(found.record["derived"]) == 2
    assert load_study(study.name, storage).trials[0].measurement == trial.measurement
    (kept,) = (tmp_path / "a.db.checkpoints" / study.name).iterdir()
    # The same command looks it up; with more trials it goes on.
    assert len(small(storage).trials) == 1
    more = small(storage, trials=2)
    assert more.trials[0].measurement == trial.measurement
    assert len(list(kept.parent.iterdir())) == 2
    page = report_html([more])
    assert "Weights of the architecture over time" in page
    assert "Entropy of the architecture" in page


def test_a_search_in_a_study_goes_on_from_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = small("memory://undisturbed").trials[0]
    storage = f"sqlite:///{tmp_path}/a.db"
    kind = oneshot.get("gdas")
    train_step, steps = kind.train_step, iter(range(100))

    def dying(self: Any, batch: Any) -> None:
        if next(steps) == 3:
            raise KeyboardInterrupt
        train_step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(kind, "train_step", dying)
        patch.setattr("transnas.oneshot._search._Saver.save_if_due", lambda self: self.save())
        assert small(storage).interrupted
    calls: list[int] = []

    def counted(self: Any, batch: Any) -> None:
        calls.append(1)
        train_step(self, batch)

    monkeypatch.setattr(kind, "train_step", counted)
    trial = small(storage).trials[0]
    assert trial.architecture == undisturbed.architecture
    assert trial.measurement.curve == undisturbed.measurement.curve
    assert len(calls) == 3  # of six


def test_one_shot_methods_stand_beside_strategies() -> None:
    from transnas.studies import _methods

    assert {"random", *oneshot.names()} <= set(_methods.names())
    compared = transnas.compare(
        ["random", "gdas:epochs=1,batch_size=512"], ["digits"], seeds=1, trials=1, epochs=1,
        storage="memory://compared", progress=False,
    )  # fmt: skip
    assert [row.method for row in compared.rows()] == ["random", "gdas:epochs=1,batch_size=512"]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"strategy": "dartz"}, "strategy 'dartz' is unknown; did you mean 'darts'"),
        ({"settings": {"epoch": 3}}, "setting 'epoch' is unknown; did you mean 'epochs'"),
        ({"strategy": "pc-darts", "settings": {"partial": 3}}, "divisor of 16"),
    ],
)
def test_what_cannot_be_searched_is_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        small("memory://refused", **options)


def test_a_table_has_nothing_to_train_a_supernet_on() -> None:
    with pytest.raises(InputError, match="no data to train a supernet on"):
        transnas.search("nasbench201/cifar10", strategy="darts", storage="memory://none")
    with pytest.raises(InputError, match="'darts' trains a supernet, and task"):
        transnas.compare(["random", "darts"], ["nasbench201/cifar10"], storage="memory://none")


def test_a_measurement_keeps_what_was_found() -> None:
    found = Found(Architecture("tiny", (1, 0)), {"shares": [[[0.5]]]})
    measurement = Measurement({"score": 1.0}, found=found)
    assert Measurement.from_dict(measurement.to_dict()) == measurement
    assert "found" not in Measurement({"score": 1.0}).to_dict()
