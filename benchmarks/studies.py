"""What a study costs beside its trials, and how fast a large one opens.

    python benchmarks/studies.py

Goals: < 1 ms a trial in memory and < 5 ms durable on SQLite, over 1,000 trials; a study of
100,000 trials opens in < 10 s within 1 GiB. Writes benchmarks/results/studies.json.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _record import write_result

from transnas import spaces, strategies
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.studies import load_study, search
from transnas.tasks import Signature, TableTask

TASK = TableTask("benchmark", Signature((3, 32, 32), 10), space="nasbench201")
STRATEGY = "regularized-evolution"
TRIALS = 1_000
MANY = 100_000


class Instant(Evaluator):
    """Takes about a microsecond."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Return a made-up accuracy."""
        return Measurement({"validation_accuracy": sum(arch.values) / 24}, Cost(1.0, 12, "none"))


def run(storage: str, trials: int, **options: Any) -> float:
    """Return how many seconds a search takes."""
    start = time.perf_counter()
    search(
        TASK,
        strategy=STRATEGY,
        trials=trials,
        storage=storage,
        evaluator=Instant(),
        progress=False,
        **options,
    )
    return time.perf_counter() - start


def without_study(trials: int) -> float:
    """Return how many seconds the same asks, evaluations and tells take by themselves."""
    strategy = strategies.create(STRATEGY, spaces.get("nasbench201"))
    evaluator = Instant()
    start = time.perf_counter()
    for _ in range(trials):
        arch = strategy.ask()
        strategy.tell(arch, evaluator.evaluate(arch))
    return time.perf_counter() - start


def overhead(make_storage: Callable[[], str], trials: int, repeats: int = 5) -> dict[str, float]:
    """Return the milliseconds a trial that a study adds: median and extremes over repeats."""
    run(make_storage(), 10)
    added = [
        1e3 * (run(make_storage(), trials) - without_study(trials)) / trials for _ in range(repeats)
    ]
    return {"median": statistics.median(added), "least": min(added), "most": max(added)}


def opened(storage: str, name: str) -> dict[str, float]:
    """Open a study in a fresh process; return seconds (without imports) and peak memory."""
    program = (
        "import re, sys, time; from transnas.studies import load_study\n"
        "start = time.perf_counter(); study = load_study(*sys.argv[1:])\n"
        "seconds = time.perf_counter() - start\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "print(seconds, len(study.trials), int(peak) / 1024)"
    )
    command = [sys.executable, "-c", program, name, storage]
    seconds, trials, peak = subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(trials) == MANY
    return {"seconds": float(seconds), "peak_mib": float(peak)}


def main() -> None:
    """Measure and write the results."""
    with tempfile.TemporaryDirectory() as folder:
        count = 0

        def fresh(kind: str) -> str:
            nonlocal count
            count += 1
            return f"memory://{count}" if kind == "memory" else f"{kind}:///{folder}/{count}.db"

        result: dict[str, Any] = {
            "load_average_at_start": os.getloadavg()[0],
            "trials": TRIALS,
            "added_ms_per_trial_first_included": {
                kind: overhead(lambda kind=kind: fresh(kind), TRIALS)  # type: ignore[misc]
                for kind in ("memory", "sqlite", "journal")
            },
            "seconds_to_the_first_trial": {
                kind: run(fresh(kind), 1) for kind in ("memory", "sqlite", "journal")
            },
        }
        two = run(fresh("sqlite"), TRIALS, workers=2)
        result["two_processes_seconds_for_1000_instant_trials_with_start"] = two
        storage = fresh("sqlite")
        seconds = run(storage, MANY, name="many")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        result["large"] = {
            "trials": MANY,
            "search_seconds": seconds,
            "search_peak_mib": peak,
            "file_mib": Path(storage.removeprefix("sqlite:///")).stat().st_size / 2**20,
            "open": opened(storage, "many"),
            "resume_one_more_seconds": run(storage, MANY + 1, name="many"),
        }
        assert len(load_study("many", storage).trials) == MANY + 1
    print(write_result("studies", result))


if __name__ == "__main__":
    main()
