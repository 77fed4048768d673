"""Workers in simulated time: any strategy with any number of workers, end to end, in seconds."""

from __future__ import annotations

import heapq
from datetime import timedelta

from transnas._errors import InputError
from transnas.evaluation import Evaluator
from transnas.studies._executors import Executor, Job, Outcome, measure, now, timed_out

__all__ = ["Simulated"]


class Simulated(Executor):
    """Evaluates at once, and hands results out in the order of their simulated finish.

    A job starts when it is submitted and takes its measurement's `Cost.seconds` on a virtual
    clock that jumps to the next finish, as a table with known training times makes possible.
    One that would take longer than `timeout` ends there, as it would on a real clock. Outcomes
    carry virtual times, so that a study's times are those of the simulated workers.
    """

    def __init__(self, evaluator: Evaluator, workers: int, timeout: float | None = None) -> None:
        self.capacity = workers
        self.seconds = 0.0
        """The virtual time since the executor began."""
        self._evaluator = evaluator
        self._timeout = timeout
        self._begin = now()
        self._running: list[tuple[float, int, Outcome]] = []

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        result = measure(self._evaluator, job)
        cost = 0.0 if isinstance(result, InputError) else result.cost.seconds
        if self._timeout is not None and cost > self._timeout:
            result, cost = timed_out(self._timeout), self._timeout
        finish = self.seconds + cost
        started, finished = (self._begin + timedelta(seconds=s) for s in (self.seconds, finish))
        # Equal finishes come out in the order of asking.
        heapq.heappush(self._running, (finish, job.ask, Outcome(job, result, started, finished)))

    def wait(self, seconds: float) -> list[Outcome]:
        """Move the clock to the next finish and return that job; see `Executor.wait`."""
        if not self._running:
            return []
        self.seconds, _, outcome = heapq.heappop(self._running)
        return [outcome]
