"""Snapshots equal replay, for every registered strategy that can be made by name."""

from __future__ import annotations

import json
import math
import warnings
from dataclasses import replace
from typing import Any

import pytest
from study_toys import SPACE, TASK, Sum

from transnas import strategies
from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.studies import _history, load_study, search
from transnas.studies._executors import now
from transnas.studies._history import History, replayed
from transnas.studies._storage import open_store
from transnas.studies._trial import Codec, Entry, Trial


def record(history: History, count: int, width: int) -> list[Entry]:
    """Ask and tell with `width` trials under way, the latest told first; return the entries."""
    entries: list[Entry] = []
    while len(entries) < count:
        while len(history.pending) < width:
            history.ask()
        ask = max(history.pending) if len(entries) % 3 else min(history.pending)
        arch = history.pending[ask]
        measured = Sum().evaluate(arch, seed=ask)
        if ask % 7 == 3:
            measured = Measurement.failed("seven")
        trial = Trial(len(entries), arch, measured, now(), now(), ask)
        entries.append(Entry(trial, history.asked))
        history.tell(ask, measured)
    return entries


@pytest.mark.parametrize("width", [1, 4])
@pytest.mark.parametrize("name", ["random", "regularized-evolution", "local-search", "reinforce"])
def test_snapshot_and_replay_give_the_same_future(
    name: str, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "SNAPSHOT_AFTER", 0.0)

    def create() -> strategies.Strategy:
        return strategies.create(name, SPACE, seed=5)

    original = History(create(), SPACE)
    entries = record(original, 40, width)
    snapshot = json.loads(json.dumps(original.snapshot()))
    entries += record_more(original, entries, 17, width)
    asked = [history.ask() for history in [original] for _ in range(3)]
    expected = [original.pending[a] for a in asked]
    for given in (None, snapshot):
        history = replayed(create, SPACE, entries, given)
        assert history.told == 57
        future = [history.ask() for _ in range(3)]
        assert [history.pending[a] for a in future] == expected


def record_more(history: History, entries: list[Entry], count: int, width: int) -> list[Entry]:
    """Return further entries, numbered after the given ones."""
    more = record(history, count, width)
    return [Entry(replace(e.trial, number=len(entries) + i), e.asked) for i, e in enumerate(more)]


def test_a_slow_strategy_resumes_from_a_stored_snapshot(
    storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_history, "SNAPSHOT_AFTER", 1e-4)
    options: dict[str, Any] = {"strategy": "regularized-evolution", "evaluator": Sum()}
    whole = search(TASK, trials=90, storage=f"memory://{storage} whole", **options)
    first = search(TASK, trials=60, storage=storage, name="s", **options)
    with open_store(storage) as store:
        study = store.get("s")
        snapshot = store.snapshot(study)
        entries = store.read(study, Codec(SPACE, first.objectives))
    assert 0 < snapshot["told"] <= 60
    told: list[Architecture] = []

    class Counting(strategies.get("regularized-evolution")):  # type: ignore[misc]
        def tell(self, arch: Architecture, measurement: Measurement) -> None:
            told.append(arch)
            super().tell(arch, measurement)

    replayed(lambda: Counting(SPACE), SPACE, entries, snapshot)
    assert len(told) == 60 - snapshot["told"]
    resumed = search(TASK, trials=90, storage=storage, name="s", **options)
    assert [t.architecture for t in resumed.trials] == [t.architecture for t in whole.trials]


def test_another_version_of_a_strategy_continues_with_a_warning(sqlite: str) -> None:
    options: dict[str, Any] = {"evaluator": Sum(), "name": "v"}
    search(TASK, None, "random", 20, storage=sqlite, **options)
    with open_store(sqlite) as store:
        entries = store.read(store.get("v"), Codec(SPACE, load_study("v", sqlite).objectives))
    with pytest.warns(RuntimeWarning, match="proposes other architectures than when"):
        history = replayed(lambda: strategies.create("random", SPACE, seed=9), SPACE, entries, None)
    seen = {e.trial.architecture for e in entries}
    assert history.told == 20
    assert history.ask() == 20
    assert history.pending[20] not in seen
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replayed(lambda: strategies.create("random", SPACE), SPACE, entries, None)


def test_snapshots_wait_until_they_are_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(strategies.create("random", SPACE), SPACE)
    record(history, 10, 1)
    assert history.snapshot() is None
    monkeypatch.setattr(_history, "SNAPSHOT_AFTER", 0.0)
    assert history.snapshot() is not None
    monkeypatch.setattr(history, "_snapshot_cost", math.inf)
    assert history.snapshot() is None
