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
from transnas.studies._definition import is_of, may_be_of
from transnas.studies._plan import by_task
from transnas.studies._storage import label_of, open_store
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
    others = sources([storage], SPACE, Objective(), lambda source: source.study == "one")
    assert {s.study for s in others} == set(found) - {"one"}
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


def test_studies_of_other_data_of_the_same_name_are_other_sources(sqlite: str) -> None:
    options: dict[str, Any] = {"storage": sqlite, "evaluator": Sum(), "strategy": "random"}
    for name, digest in (("mine", "aa"), ("again", "aa"), ("theirs", "bb")):
        search(replace(DATA, digest=digest), SPACE, trials=4, name=name, **options)
    found = sources([sqlite], SPACE, Objective())
    assert [len(source.architectures) for source in by_task(found)] == [8, 4]


def test_a_task_is_known_by_its_data_where_there_is_a_digest() -> None:
    mine = replace(DATA, digest="aa")
    renamed = replace(mine, name="renamed")
    for name, data, task, certain, possible in (
        ("data", "aa", mine, True, True),
        ("data", "bb", mine, False, False),
        ("data", "aa", renamed, True, True),
        ("data", "", mine, True, True),  # from before data had digests
        ("digits", "", replace(mine, name="digits"), False, True),  # built in, and the user's own
        ("data", "aa", DATA, False, True),
        ("toy", "", TASK, True, True),
        ("data", "aa", TASK, False, False),
    ):
        assert is_of(name, data, task) is certain
        assert may_be_of(name, data, task) is possible


def test_a_search_learns_and_resumes_with_the_sources_it_began_with(sqlite: str) -> None:
    fill(sqlite)
    task = replace(TASK, name="new")
    options: dict[str, Any] = {"learn_from": [sqlite], "evaluator": Sum()}
    whole = search(task, trials=14, storage=sqlite, name="whole", **options)
    assert whole.strategy == "store-transfer"
    assert [s["study"] for s in whole.info["learn_from"]] == ["one", "two", "troubled"]
    begun = search(task, trials=6, storage="memory://learning", name="parts", **options)
    # "whole" is another study now, and "parts" began with it among its sources.
    assert [s["study"] for s in begun.info["learn_from"]] == ["one", "two", "troubled", "whole"]
    with open_store(sqlite) as store:
        store.discard(store.get("whole"))
    with pytest.raises(InputError, match="study 'whole' is unknown"):
        search(task, trials=14, storage="memory://learning", name="parts", **options)
    again = search(task, trials=6, storage=sqlite, name="again", **options)
    search(TASK, trials=40, storage=sqlite, name="one", evaluator=Sum(), strategy="random")
    resumed = search(task, trials=14, storage=sqlite, name="again", **options)
    assert resumed.trials[:6] == again.trials
    assert [t.architecture for t in resumed.trials] == [t.architecture for t in whole.trials]
    alone = search(
        task, None, "store-transfer", 6, storage="memory://learning", evaluator=Sum(), name="a"
    )
    assert [t.architecture for t in alone.trials] != [t.architecture for t in again.trials]


def test_learning_that_cannot_be(sqlite: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"evaluator": Sum(), "storage": sqlite}
    with pytest.raises(InputError, match="gives no source"):
        search(TASK, learn_from=["memory://empty"], **options)
    with pytest.raises(InputError, match=r"'random' does not learn .* accepted: store-transfer"):
        search(TASK, None, "random", learn_from=["memory://empty"], **options)
    assert list(tmp_path.iterdir()) == []


def test_passwords_are_not_recorded() -> None:
    assert label_of("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    study = search(
        TASK, None, "random", 2, storage="memory://secrets", evaluator=Sum(),
        command="transnas search --storage postgresql://me:secret@host/db --name a@b",
    )  # fmt: skip
    recorded = "transnas search --storage postgresql://me:***@host/db --name a@b"
    assert study.info["command"] == recorded
    for plain in (
        "sqlite:///a:b@c.db",
        "postgresql://me@host:5432/db",
        "journal:///x",
        "memory://",
    ):
        assert label_of(plain) == plain


def test_no_source_is_an_error(sqlite: str, tmp_path: Path) -> None:
    fill(sqlite)
    with pytest.raises(InputError, match="that measured 'speed'"):
        sources([sqlite], SPACE, Objective("speed"))
    with pytest.raises(InputError, match="does not exist"):
        sources([f"sqlite:///{tmp_path}/none.db"], SPACE, Objective())
    with pytest.raises(InputError, match="gives no source"):
        sources([], SPACE, Objective())
    with pytest.raises(InputError, match="for other tasks than other, toy"):
        sources([sqlite], SPACE, Objective(), lambda source: True)
