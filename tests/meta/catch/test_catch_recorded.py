"""An interrupted meta-training pays for no reward twice, and ends as without the interruption."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from transnas import InputError
from transnas.meta.catch import CatchSettings, MetaTrained, Recorded, TaskFamily, meta_train
from transnas.meta.catch.coding import Codes
from transnas.meta.catch.families import Evaluate, Floats
from transnas.spaces import Choice, Space

TINY = CatchSettings(hidden=8, z_size=3, candidates=8, updates=1, policy_updates=1, initial=3)
SEEDS, EPOCHS, QUERIES = (3, 8), 2, 6


class Six(Space):
    """729 networks."""

    name = "six"
    choices = tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(6))


class Costly(TaskFamily):
    """Rewards of seed, epoch and network alone, which it counts; `stop` of them are possible.

    Networks whose second and fourth values are equal fail.
    """

    def __init__(self, stop: int = 1000) -> None:
        self.space = Six()
        self.stop = stop
        self.measured: list[tuple[int, ...]] = []

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        def rewards(codes: Codes) -> Floats:
            return np.array([self._one(s, epoch, row) for s, row in zip(seeds, codes, strict=True)])

        return rewards

    def _one(self, seed: int, epoch: int, codes: Codes) -> float:
        if len(self.measured) == self.stop:
            raise KeyboardInterrupt
        self.measured.append((seed, epoch, *codes.tolist()))
        if codes[1] == codes[3]:
            return float("nan")
        return float(np.random.default_rng([seed, epoch]).standard_normal(6) @ codes / 3)

    def describe(self) -> dict[str, Any]:
        return {"kind": "costly", "budget": 3}


def train(family: Costly, folder: Path, **more: Any) -> MetaTrained:
    """Meta-train on `family`, recorded in `folder`."""
    given: dict[str, Any] = {"seeds": SEEDS, "epochs": EPOCHS, "queries": QUERIES, **more}
    recorded = Recorded(family, folder, given["seeds"])
    return meta_train(recorded, family.space, settings=TINY, checkpoint=folder, **given)


def interrupt(after: int, folder: Path) -> Costly:
    """Return the family of a training that was interrupted after so many networks."""
    family = Costly(after)
    with pytest.raises(KeyboardInterrupt):
        train(family, folder)
    return family


def require_equal(found: MetaTrained, expected: MetaTrained) -> None:
    assert found.learnt_from == expected.learnt_from
    for name, array in expected.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)


@pytest.fixture(scope="module")
def whole() -> tuple[MetaTrained, list[tuple[int, ...]]]:
    """Return what an uninterrupted training without a record gives, and what it measured."""
    family = Costly()
    trained = meta_train(family, family.space, SEEDS, TINY, EPOCHS, QUERIES)
    return trained, family.measured


@pytest.mark.parametrize("after", [1, 5, 11, 12, 19, 23])
def test_nothing_is_measured_again(after: int, tmp_path: Path, whole: Any) -> None:
    first = interrupt(after, tmp_path)
    again = Costly()
    require_equal(train(again, tmp_path), whole[0])
    count = len(whole[1])
    assert (len(first.measured), len(again.measured)) == (after, count - after)
    assert sorted(first.measured + again.measured) == sorted(whole[1])
    # The record alone is enough, for the trainings of all tasks.
    (tmp_path / "prior.json").unlink()
    require_equal(train(Costly(0), tmp_path), whole[0])


def test_a_line_that_was_not_written_to_its_end_is_measured_again(
    tmp_path: Path, whole: Any
) -> None:
    file = tmp_path / "rewards.jsonl"
    interrupt(7, tmp_path)
    content = file.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for cut, left in ((len(content) - 1, 6), (ends[3] + 9, 3), (ends[0] + 1, 0), (11, 0), (0, 0)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / file.name).write_bytes(content[:cut])
        again = Costly()
        require_equal(train(again, folder), whole[0])
        assert len(again.measured) == len(whole[1]) - left
        lines = (folder / file.name).read_text().splitlines()
        assert len([json.loads(line) for line in lines]) == 1 + len(whole[1])


def test_other_settings_find_what_they_share(tmp_path: Path) -> None:
    interrupt(12, tmp_path)
    other = {"settings": replace(TINY, epsilon=0.9, updates=2)}
    family, alone = Costly(), Costly()
    recorded = Recorded(family, tmp_path, SEEDS)
    sizes: Any = {"seeds": SEEDS, "epochs": EPOCHS, "queries": QUERIES, **other}
    found = meta_train(recorded, family.space, **sizes)
    require_equal(found, meta_train(alone, alone.space, **sizes))
    # The random networks at the start are the same under every setting.
    assert len(family.measured) <= len(alone.measured) - len(SEEDS) * TINY.initial


def test_another_training_is_refused(tmp_path: Path) -> None:
    interrupt(4, tmp_path)
    for seeds in ((3,), (8, 3)):
        with pytest.raises(InputError, match=r"rewards.jsonl' has seeds \[3, 8\]; accepted: "):
            Recorded(Costly(), tmp_path, seeds)

    class Longer(Costly):
        def describe(self) -> dict[str, Any]:
            return {"kind": "costly", "budget": 9}

    with pytest.raises(InputError, match="has learnt_from 'budget' 3; accepted: 9, or another"):
        Recorded(Longer(), tmp_path, SEEDS)


@pytest.mark.parametrize("line", ["[1]", "{}", "so", '{"seed": 3, "epoch": 0, "network": "x"}'])
def test_a_damaged_line_is_refused(line: str, tmp_path: Path) -> None:
    interrupt(4, tmp_path)
    file = tmp_path / "rewards.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:2], line, *lines[2:], ""]))
    with pytest.raises(InputError, match=r"rewards.jsonl' is damaged"):
        Recorded(Costly(), tmp_path, SEEDS)


def test_failures_count_once_anything_was_measured(tmp_path: Path) -> None:
    codes = np.array([[0, 0, 0, 0, 0, 0], [1, 2, 0, 2, 1, 0]])
    broken = Recorded(Costly(), tmp_path, SEEDS)
    assert np.isnan(broken.tasks(SEEDS, 0)(codes)).all()
    assert not list(tmp_path.iterdir())  # a machine that is mended since measures them again
    assert np.isfinite(broken.tasks([3], 1)(np.array([[0, 0, 0, 1, 0, 0]]))).all()
    found = Recorded(Costly(0), tmp_path, SEEDS)
    assert found.measured_before(SEEDS, 0, codes)
    assert np.isnan(found.tasks(SEEDS, 0)(codes)).all()
