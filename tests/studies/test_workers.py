"""Several workers: local processes and Ray, on SQLite and PostgreSQL."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from study_toys import SPACE, TASK, DiesOnce, Hopeless, Logged, Refuses, Sum, Troubled

from transnas import InputError, strategies
from transnas.evaluation import Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.studies import SearchError, Study, load_study, search
from transnas.studies._history import replayed
from transnas.studies._storage import open_store
from transnas.studies._trial import Codec

HERE = Path(__file__).parent
TRIALS = 40


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ray on this machine, whose workers find the toys; skips where Ray is absent."""
    if not os.environ.get("CI"):
        pytest.importorskip("ray")
    import ray

    monkeypatch.setenv("PYTHONPATH", str(HERE))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()


def run(storage: str, workers: int | str, trials: int = TRIALS, **options: Any) -> Study:
    """Search the toy task with several workers."""
    options = {"evaluator": Sum(), "strategy": "random", "name": "w", **options}
    return search(TASK, trials=trials, storage=storage, workers=workers, **options)


def require_complete(study: Study, storage: str, log: Path) -> None:
    """Assert that every trial was evaluated once, told once and stored once."""
    assert [t.number for t in study.trials] == list(range(TRIALS))
    assert load_study("w", storage).trials == study.trials
    evaluated = Counter(line.split()[1] for line in log.read_text().splitlines())
    told = Counter(str(SPACE.index(t.architecture)) for t in study.trials)
    assert evaluated == told
    assert max(told.values()) == 1
    # The same asks as with one worker: tells have another order, asks of `random` do not.
    alone = run(f"memory://{log}", 1)
    assert {t.architecture for t in alone.trials} == {t.architecture for t in study.trials}


def processes_of(log: Path) -> set[str]:
    """Return the processes that evaluated."""
    return {line.split()[0] for line in log.read_text().splitlines()}


def test_two_processes_on_sqlite(sqlite: str, tmp_path: Path) -> None:
    study = run(sqlite, 2, evaluator=Logged(tmp_path / "log", 0.02))
    require_complete(study, sqlite, tmp_path / "log")
    assert len(processes_of(tmp_path / "log") - {str(os.getpid())}) == 2


def test_two_processes_on_postgresql(postgres: str, tmp_path: Path) -> None:
    study = run(postgres, 2, evaluator=Logged(tmp_path / "log", 0.02))
    require_complete(study, postgres, tmp_path / "log")


@pytest.mark.usefixtures("ray_cluster")
def test_two_ray_workers(sqlite: str, postgres: str, tmp_path: Path) -> None:
    for i, storage in enumerate([sqlite, postgres]):
        log = tmp_path / f"log{i}"
        name = {"name": "w"} if i == 0 else {"name": "ray"}
        study = run(storage, "ray:2", evaluator=Logged(log, 0.02), **name)
        assert len({t.architecture for t in study.trials}) == TRIALS
        assert load_study(name["name"], storage).trials == study.trials
        assert len(log.read_text().splitlines()) == TRIALS
        assert len(processes_of(log) - {str(os.getpid())}) == 2
    monkey = run(sqlite, "ray", evaluator=Troubled(), timeout=2.0, name="trouble")
    require_troubles(monkey)
    with pytest.raises(InputError, match=r"ray:64 need 64 CPUs; accepted: 1\.\.2"):
        run(sqlite, "ray:64", name="too many")


def require_troubles(study: Study) -> None:
    """Assert that every kind of failure was met and the rest succeeded."""
    reasons = {t.measurement.error for t in study.trials if t.status == "failed"}
    assert reasons >= {
        "ValueError: no such thing",
        "validation_accuracy is nan",
        "MemoryError",
        "timeout: not finished after 2 s",
    }
    for trial in study.trials:
        if trial.architecture.values[0] == 0:
            assert trial.status == "complete"


def test_failures_stay_with_their_trials(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAY_DIE", "1")
    study = run(sqlite, 2, 40, evaluator=Troubled(), timeout=2.0)
    require_troubles(study)
    dead = [t for t in study.trials if t.architecture.values[:2] == (3, 1)]
    assert dead
    for trial in dead:
        assert trial.measurement.error == "worker died: SIGKILL (out of memory?)"


def test_a_trial_whose_worker_died_is_tried_again(sqlite: str, tmp_path: Path) -> None:
    study = run(sqlite, 2, 12, evaluator=DiesOnce(tmp_path))
    assert any(t.architecture.values[0] == 0 for t in study.trials)
    assert all(t.status == "complete" for t in study.trials)
    marks = len(list(tmp_path.iterdir()))
    without = run(sqlite, 2, 12, evaluator=DiesOnce(tmp_path), retries=0, name="0", seed=1)
    assert len(list(tmp_path.iterdir())) > marks
    failed = [t for t in without.trials if t.status == "failed"]
    assert len(failed) == len(list(tmp_path.iterdir())) - marks


@pytest.mark.parametrize("strategy", ["regularized-evolution", "reinforce"])
def test_a_study_of_several_workers_resumes(sqlite: str, strategy: str) -> None:
    run(sqlite, 2, 25, evaluator=Sum(0.005), strategy=strategy)
    with open_store(sqlite) as store:
        study = load_study("w", sqlite)
        entries = store.read(store.get("w"), Codec(SPACE, study.objectives))
    assert [e.trial.ask for e in entries] != sorted(e.trial.ask for e in entries)
    history = replayed(lambda: strategies.create(strategy, SPACE), SPACE, entries, None)
    assert (history.told, history.pending) == (25, {})
    resumed = run(sqlite, 2, 40, evaluator=Sum(0.005), strategy=strategy)
    assert resumed.trials[:25] == study.trials
    assert len(resumed.trials) == 40


def test_an_evaluator_refusal_ends_the_search(sqlite: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="epochs 7 are not known"):
        run(sqlite, 2, evaluator=Refuses(), epochs=7)
    assert list(tmp_path.iterdir()) == []


def test_hopeless_workers_stop(sqlite: str) -> None:
    with pytest.raises(SearchError, match="not mounted"):
        run(sqlite, 2, evaluator=Hopeless())


def test_a_script_without_guard_is_told_so(sqlite: str, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from study_toys import TASK, Sum\n"
        "from transnas.studies import search\n"
        f"search(TASK, None, 'random', 9, storage={sqlite!r}, workers=2, evaluator=Sum())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    result = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    assert "must start the search under `if __name__ == '__main__':`" in result.stderr


def test_an_evaluator_that_cannot_be_sent_is_refused(sqlite: str, tmp_path: Path) -> None:
    class Local(Evaluator):
        def evaluate(self, arch: Architecture, budget: Any = None, seed: int = 0) -> Measurement:
            return Measurement({"validation_accuracy": 0.0})

    with pytest.raises(InputError, match="evaluator Local cannot be sent to worker processes"):
        run(sqlite, 2, evaluator=Local())
    assert list(tmp_path.iterdir()) == []
