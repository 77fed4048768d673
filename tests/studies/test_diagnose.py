"""`diagnose`: ranks of shared weights against truth, spread, and signs of collapse."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import transnas
from transnas import InputError, spaces, tasks
from transnas._checkpoints import load_checkpoint, save_checkpoint
from transnas.cli import main
from transnas.evaluation import Evaluator, Measurement, Training
from transnas.oneshot._ranking import kendall, precision_at, recalibrate
from transnas.spaces import Architecture
from transnas.studies import _diagnose, diagnose, load_study
from transnas.studies._storage import folder_beside
from transnas.tasks import DataTask


def test_kendall_counts_pairs_with_ties() -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 6, 40).astype(float) for _ in range(2))
    pairs = [(np.sign(a[i] - a[j]), np.sign(b[i] - b[j])) for i in range(40) for j in range(i)]
    both = sum(x * y for x, y in pairs)
    untied = [sum(p[k] != 0 for p in pairs) for k in (0, 1)]
    assert kendall(a, b) == pytest.approx(both / math.sqrt(untied[0] * untied[1]))
    assert math.isnan(kendall(a, np.ones(40)))
    assert math.isnan(kendall(a, np.full(40, math.nan)))


def test_precision_is_the_part_of_the_best_that_is_found() -> None:
    truth = np.arange(10.0)
    assert precision_at(3, truth, truth) == 1.0
    assert precision_at(3, -truth, truth) == 0.0
    assert precision_at(2, np.array([0, 0, 0, 0, 0, 0, 0, 0, 5, 1.0]), truth) == 1.0
    assert precision_at(4, np.array([9, 8, 0, 0, 0, 0, 0, 0, 7, 6.0]), truth) == 0.5


def test_recalibrated_statistics_are_means_over_batches() -> None:
    norm = nn.BatchNorm2d(2)
    images = torch.randn(3, 8, 2, 4, 4, generator=torch.Generator().manual_seed(0)) * 3 + 1
    recalibrate(norm, [(batch, torch.zeros(8)) for batch in images])
    torch.testing.assert_close(norm.running_mean, images.mean(dim=(1, 3, 4)).mean(0))
    per_batch = torch.stack([b.transpose(0, 1).flatten(1).var(1) for b in images])
    torch.testing.assert_close(norm.running_var, per_batch.mean(0))
    assert not norm.training


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return name and storage of a study of two small searches."""
    storage = f"sqlite:///{tmp_path_factory.mktemp('studies')}/a.db"
    task, space = tasks.get("digits"), spaces.get("nasbench201")
    alone = Training(task, space, skeleton={"channels": 2, "cells": 1})
    study = transnas.search(
        task, space, "gdas", 2, storage=storage, evaluator=alone, epochs=1, progress=False,
        settings={"epochs": 1, "batch_size": 512},
    )  # fmt: skip
    return study.name, storage


def test_findings_of_a_study(
    studied: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name, storage = studied
    found = diagnose(name, storage, "nasbench201/cifar10", architectures=10)
    assert found.searches == 2
    assert found.low <= found.value <= found.high
    for number in (found.tau, found.tau_recalibrated, found.tau_top):
        assert -1 <= number <= 1
    assert 0 <= found.precision <= 1
    assert 0.1 < found.random < 0.95
    out = tmp_path / "found.json"
    assert main(["diagnose", name, "--storage", storage, "--json", str(out)]) == 0
    assert "collapsed" in capsys.readouterr().out
    (read,) = json.loads(out.read_text())
    assert read["tau"] is None
    assert read["value"] == pytest.approx(found.value)


def test_indicators_are_counted_over_finished_searches(
    studied: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of six operations, half that skip, or none with weights, is a collapse."""
    study = load_study(*studied)
    found = [
        {"skips": 3.0, "parametric": 2.0, "supernet_accuracy": 0.9, "derived_accuracy": 0.7},
        {"skips": 1.0, "parametric": 0.0, "entropy": 0.25},
        {"skips": 2.0, "parametric": 4.0, "entropy": 0.75},
        {"skips": 6.0},
    ]
    values = (0.5, 0.7, 0.6, 1.0)
    trials = []
    for metrics, value in zip(found, values, strict=True):
        measurement = study.trials[0].measurement
        measurement = replace(measurement, metrics={**metrics, study.objectives[0].metric: value})
        skips = int(metrics["skips"])
        arch = study.space.architecture([1] * skips + [3] * (6 - skips))  # skip_connect, conv
        trials.append(replace(study.trials[0], architecture=arch, measurement=measurement))
    failed = replace(trials[0], measurement=replace(trials[0].measurement, status="failed"))
    known = Known()
    alone = replace(study, trials=[*trials, failed])
    told = diagnose(alone, architectures=10)
    assert told.searches == 4
    assert told.value == pytest.approx(0.7)
    assert told.spread == pytest.approx(np.std(values, ddof=1))
    assert told.skips == pytest.approx(12 / 4 / 6)
    assert told.collapsed == 3
    assert told.entropy == pytest.approx(0.5)
    assert told.gap == pytest.approx(0.2)
    assert math.isnan(told.truth)
    monkeypatch.setattr(
        _diagnose, "_ranks", lambda *_: [dict.fromkeys(_diagnose._RANKS, v) for v in (0.1, 0.4)]
    )
    truth = diagnose(alone, truth=known, architectures=10)
    assert (truth.tau, truth.precision) == (0.25, 0.25)
    assert truth.truth == pytest.approx(np.mean([known.of(t.architecture) for t in trials]))
    assert truth.random == pytest.approx(np.mean([known.of(a) for a in known.asked[:10]]))


class Known(Evaluator):
    """The worth of an architecture is the sum of its operations' numbers."""

    def __init__(self) -> None:
        self.asked: list[Architecture] = []

    def of(self, arch: Architecture) -> float:
        return float(sum(arch.values))

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        self.asked.append(arch)
        return Measurement({"validation_accuracy": self.of(arch)})


def test_ranks_are_those_of_finished_searches_of_the_studys_own_data(
    studied: tuple[str, str],
) -> None:
    name, storage = studied
    study, truth = load_study(name, storage), "nasbench201/cifar10"
    found = diagnose(study, storage, truth, architectures=10)
    folder = folder_beside(storage, name)
    assert folder is not None
    digits = tasks.get("digits")
    assert isinstance(digits, DataTask)
    identity, state = load_checkpoint(next(folder.iterdir()))
    state["search"]["epoch"] = 0
    begun = folder / "search-1.safetensors"
    save_checkpoint(begun, identity, state)
    assert diagnose(study, storage, truth, architectures=10, task=digits) == found
    begun.unlink()
    with pytest.raises(InputError, match="with data None; accepted: one with data 'aa'"):
        diagnose(study, storage, truth, 10, task=replace(digits, digest="aa"))
    mine = replace(study, definition=replace(study.definition, task="mine"))
    with pytest.raises(InputError, match=r"task 'mine' of study .* not at hand; accepted: --task"):
        diagnose(mine, storage, truth, 10)
    own = replace(study, definition=replace(study.definition, data="aa"))  # a folder ./digits
    with pytest.raises(InputError, match=r"task 'digits' of .* not at hand; accepted: --task with"):
        diagnose(own, storage, truth, 10)


def test_what_cannot_be_diagnosed_is_refused(studied: tuple[str, str]) -> None:
    name, storage = studied
    with pytest.raises(InputError, match="'digits' is no table of space 'nasbench201'"):
        diagnose(name, storage, "digits")
    with pytest.raises(InputError, match="too few"):
        diagnose(name, storage, architectures=2)
    study = transnas.search("nasbench201/cifar10", "nasbench201", "random", 2,
                            storage="memory://plain", progress=False)  # fmt: skip
    with pytest.raises(InputError, match="no finished one-shot search"):
        diagnose(study)
