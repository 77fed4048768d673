"""Earlier studies as sources."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from study_toys import SPACE, TASK, Sum, Troubled

from transnas import InputError
from transnas.evaluation import Objective
from transnas.studies import search, sources
from transnas.studies.sources import recorded_sources
from transnas.tasks import DataTask, Signature

DATA = DataTask("data", Signature((3, 8, 8), 2), train=[], validation=[])  # type: ignore[arg-type]


def fill(storage: str) -> None:
    """Make three studies on the space, and one on another."""
    options: dict[str, Any] = {"storage": storage, "evaluator": Sum(), "strategy": "random"}
    search(TASK, trials=10, name="one", **options)
    search(replace(TASK, name="other"), trials=5, name="two", epochs=12, seed=3, **options)
    options["evaluator"] = Troubled()
    search(TASK, trials=30, name="troubled", timeout=0.2, **options)
    options["evaluator"] = Sum()
    search(DATA, "transnas101-micro", trials=3, name="space", **options)


def test_sources_are_the_complete_trials_of_the_space(storage: str) -> None:
    fill(storage)
    found = {s.study: s for s in sources([storage], SPACE, Objective())}
    mine = {"one", "two", "troubled"}
    assert set(found) >= mine
    assert "space" not in found
    two = found["two"]
    assert (two.task, two.budget, two.seed, two.trials) == ("other", 12, 3, 5)
    assert len(two.architectures) == len(two.rewards) == 5
    troubled = found["troubled"]
    assert 0 < len(troubled.architectures) < 30
    assert all(r == r for r in troubled.rewards)
    excluded = sources([storage], SPACE, Objective(), exclude=[(storage, "one")])
    assert {s.study for s in excluded} == set(found) - {"one"}
    smallest = {s.study: s for s in sources([storage], SPACE, Objective("size", maximise=False))}
    assert (smallest["one"].rewards <= 0).all()


def test_sources_are_read_again_as_they_were(sqlite: str) -> None:
    fill(sqlite)
    before = sources([sqlite], SPACE, Objective())
    records = [s.record() for s in before]
    search(TASK, trials=20, name="one", storage=sqlite, evaluator=Sum(), strategy="random")
    again = recorded_sources(records, [sqlite], SPACE, Objective())
    assert [s.record() for s in again] == records
    assert [s.architectures for s in again] == [s.architectures for s in before]
    with pytest.raises(InputError, match=r"lacks sqlite:///.*accepted: the same storages"):
        recorded_sources(records, ["memory://none"], SPACE, Objective())


def test_no_source_is_an_error(sqlite: str, tmp_path: Path) -> None:
    fill(sqlite)
    with pytest.raises(InputError, match="that measured 'speed'"):
        sources([sqlite], SPACE, Objective("speed"))
    with pytest.raises(InputError, match="does not exist"):
        sources([f"sqlite:///{tmp_path}/none.db"], SPACE, Objective())
    with pytest.raises(InputError, match="gives no source"):
        sources([], SPACE, Objective())
