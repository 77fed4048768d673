"""Every one-shot method by the commands of the documentation, from search to exported files."""

from __future__ import annotations

import shlex
from dataclasses import fields
from pathlib import Path

import pytest

from transnas import oneshot
from transnas.cli import main
from transnas.studies import load_study

STORAGE = "sqlite:///studies.db"
SHORT = {
    "epochs": 3,
    "batch_size": 64,
    "logits_from": 0,
    "candidates": 2,
    "controller_steps": 1,
    "rewards": 2,
    "order": 1,
}
"""Settings for a search of a moment, where a method has them."""


@pytest.mark.slow
@pytest.mark.parametrize("method", oneshot.names())
def test_a_method_is_seen_through(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    known = {field.name for field in fields(oneshot.get(method).Settings)}
    chosen = " ".join(f"--set {k}={v}" for k, v in SHORT.items() if k in known)
    for line in (
        "search --task digits:limit=7 --space nasbench201 --epochs 1 --device cpu --name s "
        f"--strategy {method} {chosen} --storage {STORAGE}",
        f"train --study s --storage {STORAGE} --epochs 1 --device cpu --out net "
        "--format safetensors",
        "export net --format safetensors --out other",
    ):
        code = main(shlex.split(line))
        printed = capsys.readouterr()
        assert code == 0, printed.err
    study = load_study("s", STORAGE)
    assert study.best is not None
    assert len(study.best.measurement.curve) > 1
    text = study.space.to_text(study.best.architecture)
    assert text in study.final_tests[0]["subject"]
    assert (tmp_path / "other" / "network.safetensors").stat().st_size > 1000
