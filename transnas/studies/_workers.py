"""Where evaluations run, from what the user calls `workers`."""

from __future__ import annotations

from dataclasses import dataclass

from transnas._errors import InputError
from transnas.evaluation import Evaluator
from transnas.studies._executors import Executor, InProcess

__all__ = ["Workers"]


LONGEST = 366 * 86400.0
"""Seconds; clocks and alarms take no more than they can count."""


@dataclass(frozen=True)
class Workers:
    """`place` is `local`, `ray` or `simulated`; `count` None is as many as there are."""

    place: str
    count: int | None
    timeout: float | None
    retries: int

    @classmethod
    def parse(cls, given: int | str, timeout: float | None, retries: int) -> Workers:
        """Read `workers`; raises `InputError` for what is not accepted."""
        if timeout is not None and not 0 < timeout <= LONGEST:
            raise InputError(
                f"timeout {timeout} is not accepted; accepted: seconds above 0, at most a year"
            )
        if not isinstance(retries, int) or retries < 0:
            raise InputError(f"retries {retries!r} is not accepted; accepted: 0 or more")
        place, _, count = str(given).rpartition(":")
        if given == "ray":
            return cls("ray", None, timeout, retries)
        if place in ("", "ray", "simulated") and count.isdecimal() and int(count) > 0:
            return cls(place or "local", int(count), timeout, retries)
        raise InputError(
            f"workers {given!r} is not accepted; accepted: a positive integer, 'ray', 'ray:4' or "
            "'simulated:4'"
        )

    def start(self, evaluator: Evaluator, most: int) -> Executor:
        """Return an executor with at most `most` workers."""
        if self.place == "ray":
            from transnas.studies._ray import RayWorkers

            return RayWorkers(evaluator, self.count, most, self.timeout, self.retries)
        count = min(self.count or 1, most)
        if self.place == "simulated":
            from transnas.studies._simulated import Simulated

            return Simulated(evaluator, count, self.timeout)
        if self.count == 1:
            return InProcess(evaluator, self.timeout)
        from transnas.studies._processes import Processes

        return Processes(evaluator, count, self.timeout, self.retries)
