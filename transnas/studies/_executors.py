"""Executors: where evaluations run. This file: the contract, and the process itself."""

from __future__ import annotations

import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from types import FrameType

from transnas._errors import InputError
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.studies._signals import handled

__all__ = ["Executor", "InProcess", "Job", "Outcome", "measure", "now"]


@dataclass(frozen=True, slots=True)
class Job:
    """One evaluation to do; `ask` identifies it."""

    ask: int
    arch: Architecture
    budget: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a measurement, or the evaluator's refusal of its input."""

    job: Job
    result: Measurement | InputError
    started: datetime
    finished: datetime


class Executor(ABC):
    """Evaluates up to `capacity` jobs at a time."""

    capacity: int

    @abstractmethod
    def submit(self, job: Job) -> None:
        """Take a job; never called with `capacity` jobs under way."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Outcome]:
        """Return finished jobs, after at most about `seconds` if there are none."""

    def close(self) -> None:  # noqa: B027 - an executor without workers has nothing to end
        """End the workers; jobs under way are dropped."""


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(timezone.utc)


def measure(evaluator: Evaluator, job: Job) -> Measurement | InputError:
    """Evaluate a job; whatever goes wrong inside becomes a failed measurement with its reason."""
    start = time.perf_counter()
    try:
        result = evaluator.evaluate(job.arch, job.budget, job.seed)
        if not isinstance(result, Measurement):
            raise TypeError(f"the evaluator returned {type(result).__name__}, not a Measurement")
        return result
    except InputError as error:
        return error
    except (Exception, SystemExit) as error:
        _free_device_memory()
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return Measurement.failed(reason, Cost(seconds=time.perf_counter() - start))


def timed_out(seconds: float) -> Measurement:
    """Return the measurement of a trial that was stopped after `seconds`."""
    return Measurement.failed(f"timeout: not finished after {seconds:g} s", Cost(seconds=seconds))


def _free_device_memory() -> None:
    """Return cached device memory after a failure, so that one too large trial stays alone."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()


class InProcess(Executor):
    """Evaluates in this process, one job at a time; time-outs need the main thread."""

    capacity = 1

    def __init__(self, evaluator: Evaluator, timeout: float | None = None) -> None:
        alarms = hasattr(signal, "setitimer")  # not on Windows
        here = threading.current_thread() is threading.main_thread()
        if timeout is not None and not (alarms and here):
            raise InputError(
                f"timeout {timeout:g} with one worker needs the main thread and a system with "
                "alarms; accepted: two or more workers"
            )
        self._evaluator = evaluator
        self._timeout = timeout
        self._job: Job | None = None

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._job = job

    def wait(self, seconds: float) -> list[Outcome]:
        """Evaluate the job, however long that takes; see `Executor.wait`."""
        job, self._job = self._job, None
        if job is None:
            return []
        started = now()
        try:
            with _alarm(self._timeout):
                result = measure(self._evaluator, job)
        except _TimedOut:
            result = timed_out(self._timeout or 0.0)
        return [Outcome(job, result, started, now())]


class _TimedOut(BaseException):
    """Raised by the alarm; not an `Exception`, so that evaluators do not catch it."""


@contextmanager
def _alarm(seconds: float | None) -> Iterator[None]:
    """Raise `_TimedOut` in the block after `seconds`."""
    if seconds is None:
        yield
        return

    def ring(_: int, __: FrameType | None) -> None:
        raise _TimedOut

    with handled(signal.SIGALRM, ring):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
