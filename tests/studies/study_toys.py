"""Small evaluators with real effects, importable from worker processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from transnas import spaces
from transnas.evaluation import Cost, Evaluator, Measurement
from transnas.spaces import Architecture
from transnas.tasks import Signature, TableTask

SPACE = spaces.get("nasbench201")
TASK = TableTask("toy", Signature((3, 32, 32), 10), space="nasbench201")


class Sum(Evaluator):
    """A smooth function of the cell, with seeded noise; takes `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        time.sleep(self.seconds)
        accuracy = sum(arch.values) / 24 + seed % 1009 / 1e5
        metrics = {"validation_accuracy": accuracy, "size": float(sum(v > 1 for v in arch.values))}
        curve = tuple({"validation_accuracy": accuracy * e / 3} for e in (1, 2, 3))
        return Measurement(metrics, Cost(2.0, budget or 12, "toy"), curve=curve)


class Logged(Sum):
    """Appends each architecture to a file before it measures it."""

    def __init__(self, path: Path, seconds: float = 0.0) -> None:
        super().__init__(seconds)
        self.path = path

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        with self.path.open("a") as file:
            file.write(f"{os.getpid()} {SPACE.index(arch)} {seed}\n")
        return super().evaluate(arch, budget, seed)


class Troubled(Sum):
    """Fails in a way that the first edge decides: raises, NaN, memory, dies, hangs."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        trouble, second = arch.values[:2]
        if trouble == 1:
            raise ValueError("no such thing")
        if trouble == 2:
            return Measurement({"validation_accuracy": float("nan")}, Cost(1.0))
        if trouble == 3 and second == 0:
            raise MemoryError
        if trouble == 3 and second == 1 and os.environ.get("MAY_DIE"):
            os.kill(os.getpid(), signal.SIGKILL)
        if trouble == 4 and second == 0:
            time.sleep(60.0)
        return super().evaluate(arch, budget, seed)


class DiesOnce(Sum):
    """Kills its worker the first time that it sees any architecture of a first edge 0."""

    def __init__(self, marks: Path) -> None:
        super().__init__()
        self.marks = marks

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        mark = self.marks / str(SPACE.index(arch))
        if arch.values[0] == 0 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().evaluate(arch, budget, seed)


class Hopeless(Evaluator):
    """Never works."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        raise RuntimeError("the disk of the data is not mounted")


class Refuses(Evaluator):
    """Takes budget 12 only."""

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        from transnas import InputError

        raise InputError(f"epochs {budget} are not known; accepted: 12")
