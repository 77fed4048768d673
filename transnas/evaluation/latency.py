"""`Latency`: how long a network takes for one batch, measured on a device."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from transnas import networks
from transnas._checks import check_whole
from transnas.evaluation._base import Cost, Evaluator, Measurement
from transnas.evaluation._fit import check_device, deterministic, workplace
from transnas.evaluation._kinds import kind_of
from transnas.evaluation._resolve import resolve_skeleton
from transnas.spaces import Architecture, Space
from transnas.tasks import Task

__all__ = ["Latency"]


class Latency(Evaluator):
    """Times inference of one batch on `device`; weights are random, the budget is not used.

    Metrics: `latency_ms`, the median over `repeats` timed runs after `warmup` untimed ones, and
    `latency_spread_ms`, their interquartile range. `threads` is the number of CPU threads (None:
    as torch is set). On a GPU each run is timed with events.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        device: str = "auto",
        batch_size: int = 1,
        warmup: int = 5,
        repeats: int = 30,
        threads: int | None = None,
        skeleton: Mapping[str, Any] | None = None,
    ) -> None:
        for name, value, least in (
            ("batch_size", batch_size, 1), ("warmup", warmup, 0), ("repeats", repeats, 1),
            ("threads", 1 if threads is None else threads, 1),
        ):  # fmt: skip
            check_whole(name, value, least)
        check_device(device)
        self.signature = task.signature
        self.space = space
        self.device = device
        self.batch_size = batch_size
        self.warmup = warmup
        self.repeats = repeats
        self.threads = threads
        self.skeleton = resolve_skeleton(space, task.signature, skeleton)

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        return frozenset({"latency_ms", "latency_spread_ms"})

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Time `arch`; `budget` is checked and has no effect."""
        check_whole("epochs", 1 if budget is None else budget, 1)
        self.space.validate(arch)
        at = workplace(self.device, "32-true")
        started = time.perf_counter()
        with deterministic(seed, at.device):
            network = networks.build(self.space, arch, self.signature, **self.skeleton)
        network = network.to(at.device).eval()
        batch = kind_of(self.signature.kind).blank(self.batch_size, self.signature, at.device)
        timer = _gpu_ms if at.device.type == "cuda" else _cpu_ms
        before = torch.get_num_threads()
        torch.set_num_threads(self.threads or before)
        try:
            with torch.inference_mode():
                times = [timer(lambda: network(batch)) for _ in range(self.warmup + self.repeats)]
        finally:
            torch.set_num_threads(before)
        low, median, high = np.percentile(times[self.warmup :], (25, 50, 75))
        metrics = {"latency_ms": float(median), "latency_spread_ms": float(high - low)}
        return Measurement(metrics, Cost(time.perf_counter() - started, 0, at.label))


def _cpu_ms(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return (time.perf_counter() - started) * 1e3


def _gpu_ms(run: Callable[[], object]) -> float:
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    first.record()
    run()
    last.record()
    last.synchronize()
    return float(first.elapsed_time(last))
