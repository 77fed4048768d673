"""One coordinator a study: a living one keeps others out, a dead one does not."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from study_toys import SPACE, TASK, Sum

from transnas import InputError
from transnas.evaluation import Measurement, Objective
from transnas.studies import StorageError, search
from transnas.studies._executors import now
from transnas.studies._lease import STALE, Lease
from transnas.studies._storage import open_store
from transnas.studies._trial import Codec, Entry, Trial

CODEC = Codec(SPACE, (Objective(),))


def entry(number: int) -> Entry:
    """Return a told trial."""
    measured = Measurement({"validation_accuracy": 0.5})
    trial = Trial(number, SPACE.at(number), measured, now(), now(), number)
    return Entry(trial, number + 1)


def test_a_second_coordinator_is_kept_out(storage: str) -> None:
    search(TASK, None, "random", 3, storage=storage, name="leased", evaluator=Sum())
    with open_store(storage) as store:
        study = store.get("leased")
        lease = store.acquire(study)
        message = f"is being run by process {os.getpid()} on {platform.node()} .*accepted: wait"
        with pytest.raises(InputError, match=message):
            search(TASK, None, "random", 5, storage=storage, name="leased", evaluator=Sum())
        # A finished study needs no lease.
        search(TASK, None, "random", 3, storage=storage, name="leased", evaluator=Sum())
        store.release(study, lease)
    found = search(TASK, None, "random", 5, storage=storage, name="leased", evaluator=Sum())
    assert len(found.trials) == 5


def test_who_lost_the_lease_cannot_write(storage: str) -> None:
    search(TASK, None, "random", 2, storage=storage, name="lost", evaluator=Sum())
    with open_store(storage) as store:
        study = store.get("lost")
        old = store.acquire(study)
        # As if nothing had been heard of it for long.
        stale = replace(old, heartbeat=time.time() - STALE - 1)
        store.append(study, old, CODEC, [], None)
        store.storage.set_study_system_attr(study, "lease", stale.text())  # type: ignore[attr-defined]
        new = store.acquire(study)
        with pytest.raises(StorageError, match="was taken over by process"):
            store.append(study, stale, CODEC, [entry(2)], None)
        store.append(study, new, CODEC, [entry(2)], None)
        assert [e.trial.number for e in store.read(study, CODEC)] == [0, 1, 2]


def test_of_many_at_once_one_gets_the_lease(storage: str) -> None:
    with open_store(storage, create=True) as store:
        study = store.create("contested", (Objective(),), {"definition": {}, "info": {}})
    gate = threading.Barrier(8)
    got: list[Lease] = []

    def contend() -> None:
        with open_store(storage) as mine:
            gate.wait()
            with suppress(InputError):
                got.append(mine.acquire(study))

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 1


def test_a_refused_search_leaves_the_file_to_another_that_has_it_open(
    tmp_path: Path, sqlite: str
) -> None:
    with open_store(sqlite, create=True) as first:
        other = sqlite3.connect(tmp_path / "studies.db")
        other.execute("SELECT count(*) FROM studies").fetchall()
        first.abandon()
        assert (tmp_path / "studies.db").exists()
        other.close()
        first.abandon()
        assert list(tmp_path.iterdir()) == []


def _nothing() -> None:
    pass


def test_who_holds_a_lease() -> None:
    mine = Lease.mine()
    assert mine.held()
    assert Lease.from_text(mine.text()) == mine
    assert not replace(mine, heartbeat=time.time() - STALE - 1).held()
    assert replace(mine, host="elsewhere").held()
    assert not replace(mine, host="elsewhere", heartbeat=0.0).held()
    # A later process with the number of a dead one.
    assert not replace(mine, born=mine.born - 1).held()
    process = multiprocessing.get_context("spawn").Process(target=_nothing)
    process.start()
    pid = process.pid
    assert pid is not None
    process.join()
    assert not replace(mine, pid=pid).held()


@pytest.mark.skipif(not Path("/proc").exists(), reason="zombies are told by /proc")
def test_a_zombie_holds_nothing() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    limit = time.monotonic() + 5.0
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < limit
        time.sleep(0.01)
    born = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    assert not replace(Lease.mine(), pid=pid, born=born).held()
    os.waitpid(pid, 0)
