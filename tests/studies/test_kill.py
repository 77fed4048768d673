"""SIGKILL at random moments: nothing told is lost or repeated, and the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from study_toys import TASK, Sum

from transnas.studies import Study, load_study, search

HERE = Path(__file__).parent
TRIALS = 700


def undisturbed(strategy: str) -> Study:
    """Return the study that the killed one is to equal."""
    return search(
        TASK, None, strategy, TRIALS, storage=f"memory://{strategy}", name="x", evaluator=Sum()
    )


def killed(storage: str, strategy: str, seed: int, kills: int = 20) -> Study:
    """Return the study after that many kills."""
    arguments = [storage, str(kills), str(TRIALS), strategy, "0.006", str(seed)]
    subprocess.run([sys.executable, str(HERE / "kill_driver.py"), *arguments], check=True, cwd=HERE)
    return load_study("x", storage)


def require_equal(found: Study, expected: Study) -> None:
    """Assert that two studies have the same trials with the same measurements."""
    assert [t.number for t in found.trials] == list(range(TRIALS))
    assert [t.architecture for t in found.trials] == [t.architecture for t in expected.trials]
    assert [t.measurement for t in found.trials] == [t.measurement for t in expected.trials]
    assert found.best is not None
    assert expected.best is not None
    assert found.best.number == expected.best.number


def test_twenty_kills_on_sqlite(sqlite: str) -> None:
    found = killed(sqlite, "regularized-evolution", seed=1)
    require_equal(found, undisturbed("regularized-evolution"))


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["random", "local-search", "reinforce"])
@pytest.mark.parametrize("seed", [2, 3])
def test_twenty_kills_of_other_strategies(sqlite: str, strategy: str, seed: int) -> None:
    require_equal(killed(sqlite, strategy, seed), undisturbed(strategy))


@pytest.mark.slow
def test_kills_on_a_journal(tmp_path: Path) -> None:
    # Few: Optuna waits 30 s for the lock of a process that died with it.
    require_equal(killed(f"journal:///{tmp_path}/x.log", "random", 5, 6), undisturbed("random"))


def test_twenty_kills_on_postgresql(postgres: str) -> None:
    require_equal(killed(postgres, "random", seed=4), undisturbed("random"))


SCRIPT = """
import sys
from study_toys import TASK, Logged
from pathlib import Path
from transnas.studies import search

if __name__ == "__main__":
    study = search(
        TASK, None, "random", 400, storage=sys.argv[1], name="x", workers=int(sys.argv[2]),
        evaluator=Logged(Path(sys.argv[3]), 0.02), progress=False,
    )
    print("interrupted" if study.interrupted else "finished", len(study.trials))
"""


def start(storage: str, workers: int, log: Path) -> subprocess.Popen[str]:
    """Start a search of 400 trials in another process."""
    script = log.parent / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, str(script), storage, str(workers), str(log)]
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for_lines(log: Path, count: int) -> None:
    """Wait until so many evaluations have begun."""
    limit = time.monotonic() + 60.0
    while not log.exists() or len(log.read_text().splitlines()) < count:
        assert time.monotonic() < limit, "the search did not begin"
        time.sleep(0.01)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupt_ends_a_search_cleanly(
    signum: signal.Signals, workers: int, tmp_path: Path, sqlite: str
) -> None:
    log = tmp_path / "log"
    process = start(sqlite, workers, log)
    wait_for_lines(log, 20)
    process.send_signal(signum)
    output, errors = process.communicate(timeout=30.0)
    assert process.returncode == 0, errors
    word, count = output.split()
    assert word == "interrupted"
    assert "the same command continues" in errors
    stored = load_study("x", sqlite)
    assert len(stored.trials) == int(count) >= 15
    # At once again, by the same definition: the lease was given back.
    options: dict[str, Any] = {"evaluator": type("Logged", (Sum,), {})(), "name": "x"}
    resumed = search(TASK, None, "random", int(count) + 5, storage=sqlite, **options)
    whole = search(TASK, None, "random", int(count) + 5, storage=f"memory://{tmp_path}", **options)
    assert sorted(t.architecture.values for t in resumed.trials) == sorted(
        t.architecture.values for t in whole.trials
    )


def test_workers_die_with_a_killed_coordinator(tmp_path: Path, sqlite: str) -> None:
    log = tmp_path / "log"
    process = start(sqlite, 2, log)
    wait_for_lines(log, 10)
    process.kill()
    process.communicate()
    workers = {int(line.split()[0]) for line in log.read_text().splitlines()}
    limit = time.monotonic() + 10.0
    while any(alive(pid) for pid in workers):
        assert time.monotonic() < limit, "a worker outlived its coordinator"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    """Return whether a process runs (a zombie does not)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return status not in "ZX"
