"""`RayWorkers`: evaluations on a Ray cluster, or on this machine under Ray."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from transnas._errors import InputError, require
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.studies._executors import Executor, Job, Outcome, measure, now, timed_out
from transnas.studies._processes import limit_threads

__all__ = ["RayWorkers"]

STARTING = 0.5
"""Seconds between two looks at actors that are starting; a job's time counts from then on."""


@dataclass
class _Slot:
    """One actor, and the job under way there."""

    actor: Any
    ready: Any
    running: bool = False
    job: Job | None = None
    tries: int = 0
    result: Any = None
    sent: datetime = field(default_factory=now)
    deadline: float | None = None


class RayWorkers(Executor):
    """Evaluates in Ray actors, at most `most`; `workers` None takes one for each CPU.

    Uses the cluster that `RAY_ADDRESS` names or that is connected already, else starts Ray on
    this machine and stops it afterwards. GPUs of the cluster are shared evenly.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        workers: int | None,
        most: int,
        timeout: float | None,
        retries: int,
    ) -> None:
        self._ray = require("option workers 'ray'", "ray", "ray")
        self._owns_ray = not self._ray.is_initialized()
        if self._owns_ray:
            self._connect(workers)
        resources = self._ray.cluster_resources()
        cpus, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
        self.capacity = workers or cpus
        if self.capacity > cpus:
            self.close()
            raise InputError(
                f"workers ray:{workers} need {workers} CPUs; accepted: 1..{cpus} on this cluster"
            )
        self.capacity = min(self.capacity, most)
        self._timeout = timeout
        self._retries = retries
        # Ray counts GPUs in ten-thousandths.
        share = min(1.0, math.floor(gpus / self.capacity * 10_000) / 10_000)
        self._options = {"num_cpus": 1, "num_gpus": share, "max_restarts": 0}
        self._evaluator = self._ray.put(evaluator)
        self._slots = [self._start() for _ in range(self.capacity)]

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._send(next(s for s in self._slots if s.job is None), job, tries=0)

    def wait(self, seconds: float) -> list[Outcome]:
        """See `Executor.wait`."""
        busy = [s for s in self._slots if s.job is not None]
        limits = [s.deadline - time.monotonic() for s in busy if s.deadline is not None]
        if self._timeout is not None and not all(s.running for s in busy):
            limits.append(STARTING)
        patience = max(0.0, min([seconds, *limits]))
        done, _ = self._ray.wait([s.result for s in busy], timeout=patience)
        return [o for o in (self._look_at(s, s.result in done) for s in busy) if o is not None]

    def close(self) -> None:
        """End the actors, and Ray if it was started here."""
        for slot in getattr(self, "_slots", []):
            self._ray.kill(slot.actor)
        if self._owns_ray:
            self._ray.shutdown()

    # One actor ------------------------------------------------------------------------------

    def _connect(self, workers: int | None) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if "RAY_ADDRESS" not in os.environ:
            options["include_dashboard"] = False
            options["num_cpus"] = max(workers or 1, os.cpu_count() or 1)
        try:
            self._ray.init(**options)
        except (ConnectionError, RuntimeError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"workers ray cannot be had ({reason}); accepted: a running cluster in "
                "RAY_ADDRESS, or none there to start one here"
            ) from error

    def _start(self) -> _Slot:
        actor = self._ray.remote(_Actor).options(**self._options).remote(self._evaluator)
        return _Slot(actor, actor.ready.remote())

    def _send(self, slot: _Slot, job: Job, tries: int) -> None:
        slot.job, slot.tries, slot.sent = job, tries, now()
        slot.result = slot.actor.evaluate.remote(job)
        if slot.running and self._timeout is not None:
            slot.deadline = time.monotonic() + self._timeout

    def _look_at(self, slot: _Slot, done: bool) -> Outcome | None:
        if done:
            try:
                result, started, finished = self._ray.get(slot.result)
            except self._ray.exceptions.RayError as error:
                return self._bury(slot, error)
            return self._finish(slot, result, started, finished)
        if self._timeout is not None and not slot.running:
            slot.running = bool(self._ray.wait([slot.ready], timeout=0)[0])
            if slot.running:
                slot.deadline = time.monotonic() + self._timeout
        if slot.deadline is not None and time.monotonic() >= slot.deadline:
            outcome = self._finish(slot, timed_out(self._timeout or 0.0), slot.sent, now())
            self._replace(slot)
            return outcome
        return None

    def _finish(
        self,
        slot: _Slot,
        result: Measurement | InputError,
        started: datetime,
        finished: datetime,
    ) -> Outcome:
        job = slot.job
        assert job is not None
        slot.job, slot.deadline, slot.running = None, None, True
        return Outcome(job, result, started, finished)

    def _bury(self, slot: _Slot, error: BaseException) -> Outcome | None:
        """Replace a dead actor; its job goes to the new one, or has failed too often."""
        job = slot.job
        assert job is not None
        successor = self._replace(slot)
        if slot.tries >= self._retries:
            reason = f"worker died: {str(error).strip().splitlines()[0]}"
            spent = Cost((now() - slot.sent).total_seconds())
            return self._finish(slot, Measurement.failed(reason, spent), slot.sent, now())
        self._send(successor, job, slot.tries + 1)
        return None

    def _replace(self, slot: _Slot) -> _Slot:
        self._ray.kill(slot.actor)
        successor = self._start()
        self._slots[self._slots.index(slot)] = successor
        return successor


class _Actor:
    """Evaluates one job at a time, with one torch thread for its one CPU."""

    def __init__(self, evaluator: Evaluator) -> None:
        limit_threads(1)
        self._evaluator = evaluator

    def ready(self) -> bool:
        """Return once the actor runs."""
        return True

    def evaluate(self, job: Job) -> tuple[Measurement | InputError, datetime, datetime]:
        """Return the result, and when the evaluation started and finished."""
        started = now()
        return measure(self._evaluator, job), started, now()
