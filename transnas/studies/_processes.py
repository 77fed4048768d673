"""`Processes`: evaluations in worker processes of this machine.

Each worker has its own pipe, so that one that is killed at any moment leaves the others alone,
and is started afresh (spawned, which CUDA needs). The evaluator is sent once a worker.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from transnas._errors import InputError
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.studies._errors import SearchError
from transnas.studies._executors import Executor, Job, Outcome, measure, now, timed_out

__all__ = ["Processes", "limit_threads"]


@dataclass
class _Worker:
    """A worker process and the job it was given; `started` once it says that it has begun."""

    index: int
    process: SpawnProcess
    pipe: Connection
    ready: bool = False
    job: Job | None = None
    tries: int = 0
    started: datetime | None = None
    deadline: float | None = None


class Processes(Executor):
    """Evaluates in `workers` processes; a job whose worker dies is tried `retries` times more.

    Raises `InputError` if the evaluator cannot be sent to another process.
    """

    def __init__(
        self, evaluator: Evaluator, workers: int, timeout: float | None, retries: int
    ) -> None:
        try:
            self._evaluator = pickle.dumps(evaluator)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise _unsendable(type(evaluator).__name__, str(error)) from error
        self.capacity = workers
        self._timeout = timeout
        self._retries = retries
        self._devices = visible_devices()
        self._workers = [self._start(i) for i in range(workers)]

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._send(next(w for w in self._workers if w.job is None), job, tries=0)

    def wait(self, seconds: float) -> list[Outcome]:
        """See `Executor.wait`."""
        deadlines = [w.deadline - time.monotonic() for w in self._workers if w.deadline is not None]
        patience = max(0.0, min([seconds, *deadlines]))
        wait([w.pipe for w in self._workers], patience)
        outcomes = []
        for worker in list(self._workers):
            outcome = self._look_at(worker)
            if outcome is not None:
                outcomes.append(outcome)
        return outcomes

    def close(self) -> None:
        """End the workers: idle ones leave by themselves, busy ones are killed."""
        for worker in self._workers:
            if worker.job is not None or not worker.ready:
                worker.process.kill()
            worker.pipe.close()
        for worker in self._workers:
            worker.process.join(5.0)
            worker.process.kill()
            worker.process.join()
        self._workers = []

    # One worker -----------------------------------------------------------------------------

    def _start(self, index: int) -> _Worker:
        ours, theirs = multiprocessing.Pipe()
        device = self._devices[index % len(self._devices)] if self._devices else None
        threads = max(1, (os.cpu_count() or 1) // self.capacity)
        process = multiprocessing.get_context("spawn").Process(
            target=_serve,
            args=(theirs, self._evaluator, threads, device),
            name=f"transnas-worker-{index}",
            daemon=False,  # evaluators may have processes of their own that load data
        )
        process.start()
        theirs.close()
        return _Worker(index, process, ours)

    def _send(self, worker: _Worker, job: Job, tries: int) -> None:
        worker.job, worker.tries = job, tries
        # One that died while idle is seen at the next look, which sends the job to its successor.
        with suppress(OSError):
            worker.pipe.send(job)

    def _look_at(self, worker: _Worker) -> Outcome | None:
        """Take in a worker's messages, its death, or the end of its job's time."""
        try:
            while worker.pipe.poll():
                kind, *content = worker.pipe.recv()
                if kind == "ready":
                    worker.ready = True
                elif kind == "refused":
                    raise _unsendable(*content)
                elif kind == "started":
                    worker.started = content[0]
                    if self._timeout is not None:
                        worker.deadline = time.monotonic() + self._timeout
                else:
                    return self._finish(worker, *content)
        except (EOFError, OSError):
            return self._bury(worker)
        if worker.deadline is not None and time.monotonic() >= worker.deadline:
            self._replace(worker)
            return self._finish(worker, timed_out(self._timeout or 0.0), now())
        return None

    def _finish(
        self, worker: _Worker, result: Measurement | InputError, finished: datetime
    ) -> Outcome:
        job, started = worker.job, worker.started
        assert job is not None
        worker.job = worker.started = worker.deadline = None
        return Outcome(job, result, started or finished, finished)

    def _bury(self, worker: _Worker) -> Outcome | None:
        """Replace a dead worker; its job goes to the new one, or has failed too often."""
        worker.process.join()
        reason = death(worker.process.exitcode)
        if not worker.ready:
            raise SearchError(
                f"a worker process ended while it was starting ({reason}); a script that uses "
                "workers must start the search under `if __name__ == '__main__':`"
            )
        successor = self._replace(worker)
        if worker.job is None:
            return None
        if worker.started is not None and worker.tries >= self._retries:
            spent = (now() - worker.started).total_seconds()
            return self._finish(worker, Measurement.failed(reason, Cost(spent)), now())
        self._send(successor, worker.job, worker.tries + (worker.started is not None))
        return None

    def _replace(self, worker: _Worker) -> _Worker:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        successor = self._start(worker.index)
        self._workers[worker.index] = successor
        return successor


def death(code: int | None) -> str:
    """Return why a process ended, from its exit code."""
    if code is not None and code < 0:
        name = signal.Signals(-code).name
        hint = " (out of memory?)" if name == "SIGKILL" else ""
        return f"worker died: {name}{hint}"
    return f"worker died: exit code {code}"


def _unsendable(name: str, reason: str) -> InputError:
    return InputError(
        f"evaluator {name} cannot be sent to worker processes ({reason}); accepted: plain data of "
        "classes that a module defines, or workers 1"
    )


def visible_devices() -> Sequence[str]:
    """Return the CUDA devices that workers share, by their numbers; empty without NVIDIA GPUs."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name for name in given.split(",") if name]
    folder = Path("/proc/driver/nvidia/gpus")
    return [str(i) for i in range(len(list(folder.iterdir())))] if folder.is_dir() else []


def limit_threads(threads: int) -> None:
    """Let torch use so many threads in this process, whether it is loaded yet or not."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    torch: Any = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


# In the worker -------------------------------------------------------------------------------


def _serve(pipe: Connection, evaluator: bytes, threads: int, device: str | None) -> None:
    """Evaluate jobs from the pipe until it closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the coordinator's to handle
    threading.Thread(target=_die_with_parent, daemon=True).start()
    if device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    limit_threads(threads)
    try:
        loaded = pickle.loads(evaluator)
    except Exception as error:
        pipe.send(("refused", "given", f"{type(error).__name__}: {error}"))
        return
    limit_threads(threads)
    pipe.send(("ready",))
    while True:
        try:
            job = pipe.recv()
            pipe.send(("started", now()))
            pipe.send(("done", measure(loaded, job), now()))
        except (EOFError, OSError):
            return


def _die_with_parent() -> None:
    """End this process when the coordinator is gone, also in the middle of a long training."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
