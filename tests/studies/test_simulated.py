"""The simulated clock against schedules worked out by hand."""

from __future__ import annotations

import pytest

import transnas as tn
from transnas import spaces
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.studies._executors import Job
from transnas.studies._simulated import Simulated


class Timed(Evaluator):
    """A measurement takes as many seconds as its seed says."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        return Measurement({"validation_accuracy": 0.5}, Cost(seconds=float(seed)))


def test_two_workers_finish_in_the_order_of_a_hand_made_schedule() -> None:
    executor = Simulated(Timed(), workers=2)
    arch = spaces.get("nasbench201").at(0)
    durations = [5, 2, 1, 4, 1]
    waiting = [Job(i, arch, None, seconds) for i, seconds in enumerate(durations)]
    order, times, running = [], [], 0
    while waiting or running:
        while waiting and running < executor.capacity:
            executor.submit(waiting.pop(0))
            running += 1
        (outcome,) = executor.wait(1.0)
        running -= 1
        order.append(outcome.job.ask)
        times.append(executor.seconds)
    # Worker A: job 0 until 5, then job 4 until 6. Worker B: 1 until 2, 2 until 3, 3 until 7.
    assert order == [1, 2, 0, 4, 3]
    assert times == [2, 3, 5, 6, 7]


def test_a_trial_ends_at_its_timeout_on_the_virtual_clock() -> None:
    executor = Simulated(Timed(), workers=2, timeout=3.0)
    arch = spaces.get("nasbench201").at(0)
    for ask, seconds in enumerate([5, 3]):
        executor.submit(Job(ask, arch, None, seconds))
    outcomes = [executor.wait(1.0)[0], executor.wait(1.0)[0]]
    long, short = (outcome.result for outcome in outcomes)
    assert isinstance(long, Measurement)
    assert isinstance(short, Measurement)
    assert (long.status, long.cost.seconds) == ("failed", 3.0)
    assert long.error == "timeout: not finished after 3 s"
    assert (short.status, short.cost.seconds) == ("complete", 3.0)
    assert executor.seconds == 3.0
    assert {(o.finished - o.started).total_seconds() for o in outcomes} == {3.0}


def test_a_search_hands_its_timeout_to_simulated_workers() -> None:
    study = tn.search(
        "nasbench201/cifar10", trials=20, storage="memory://", workers="simulated:4", timeout=2500.0
    )
    failed = [t for t in study.trials if t.status == "failed"]
    assert 0 < len(failed) < 20
    assert max(t.measurement.cost.seconds for t in study.trials) <= 2500.0


def test_a_table_search_with_many_workers_takes_their_simulated_time() -> None:
    def seconds(workers: int) -> float:
        study = tn.search(
            "nasbench201/cifar10",
            trials=64,
            storage="memory://",
            name=f"{workers} workers",
            workers=f"simulated:{workers}",
        )
        assert len(study.trials) == 64
        begin = min(t.started for t in study.trials)
        end = max(t.finished for t in study.trials)
        spent = sum(t.measurement.cost.seconds for t in study.trials)
        busy = spent / (workers * (end - begin).total_seconds())
        assert 0.8 < busy <= 1 + 1e-6
        return (end - begin).total_seconds()

    assert seconds(8) < 0.25 * seconds(1)


def test_simulated_workers_must_be_a_number() -> None:
    with pytest.raises(tn.InputError, match="workers"):
        tn.search("nasbench201/cifar10", storage="memory://", workers="simulated:none")
