"""How long a search step on a supernet takes, against the plain edge-by-edge execution.

    python benchmarks/supernets.py            # several minutes on one core
    python benchmarks/supernets.py --quick    # one round of small nets, to see that it runs

All variants run in one process, interleaved, round after round, with one thread; times are CPU
seconds of a step (gradients of the logits, then of the weights, without the optimisers' updates).
Peak memory is that of a process of its own (Linux). Writes benchmarks/results/supernets.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from _record import write_result
from _supernet_steps import cpu_seconds, first_order, net_for, random_batch, second_order

from transnas.networks.relaxations import Relaxation, StraightThrough

DARTS = {"channels": 16, "layers": 8}
NASBENCH201 = {"channels": 16, "cells": 5}
QUICK = {"darts": {"channels": 8, "layers": 3}, "nasbench201": {"channels": 8, "cells": 1}}
Step = Callable[[Any, Any, str], None]


def gdas() -> Relaxation:
    return StraightThrough(1.0, torch.Generator().manual_seed(0))


def path_and_discrete(seed: int = 0) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return a step of one path of the NAS-Bench-201 supernet, and of its discrete network."""
    import numpy as np
    from torch.nn import functional as F

    net = net_for("nasbench201", "torch", **NASBENCH201)
    arch = net.space.sample(np.random.default_rng(seed))
    discrete = net.discrete(arch).train().to(memory_format=torch.channels_last)
    path, (x, y) = net.path(arch), random_batch(8)
    x = x.to(memory_format=torch.channels_last)
    return (
        lambda: F.cross_entropy(net(x, path), y).backward(),
        lambda: F.cross_entropy(discrete(x), y).backward(),
    )


def interleaved(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of each step in each round, after one round that does not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            seconds = cpu_seconds(step)
            if round_:
                times[name].append(round(seconds, 4))
                print(f"  {name}: {seconds:.3f} s", flush=True)
    return times


def summary(times: dict[str, list[float]], base: str) -> dict[str, Any]:
    """Return medians, extremes, and ratios to `base` round by round."""
    return {
        name: {
            "median_seconds": statistics.median(values),
            "seconds": values,
            f"times_faster_than_{base}": round(
                statistics.median(b / v for b, v in zip(times[base], values, strict=True)), 2
            ),
        }
        for name, values in times.items()
    }


def variants(
    space: str,
    backends: tuple[str, ...],
    batch_size: int,
    step: Step,
    skeleton: dict[str, int],
    relaxation: Callable[[], Relaxation | None] = lambda: None,
) -> dict[str, Callable[[], None]]:
    batch = random_batch(batch_size)
    made = {}
    for backend in backends:
        net = net_for(space, backend, relaxation(), **skeleton)
        made[backend] = lambda net=net, backend=backend: step(net, batch, backend)
    return made


def memory(backend: str, skeleton: dict[str, int]) -> float:
    """Return the peak memory in GB of a process that makes two DARTS steps."""
    command = [sys.executable, __file__, "--peak", backend, "--skeleton", json.dumps(skeleton)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.splitlines()[-1])


def peak(backend: str, skeleton: dict[str, int]) -> None:
    net, batch = net_for("darts", backend, **skeleton), random_batch(8)
    for _ in range(2):
        first_order(net, batch, backend)
    status = Path("/proc/self/status").read_text()
    # Not `getrusage`, whose peak a child process inherits from its parent.
    print(int(status.partition("VmHWM:")[2].split()[0]) / 1e6)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peak")
    parser.add_argument("--skeleton", type=json.loads)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.peak:
        peak(given.peak, given.skeleton)
        return
    darts = QUICK["darts"] if given.quick else DARTS
    small = QUICK["nasbench201"] if given.quick else NASBENCH201
    rounds = 1 if given.quick else given.rounds
    all_three, two = ("reference", "torch", "compiled"), ("reference", "torch")
    result: dict[str, Any] = {"threads": 1, "darts": darts, "nasbench201": small}
    cases: dict[str, tuple[dict[str, Callable[[], None]], str]] = {
        "darts first order, batch 8": (
            variants("darts", all_three, 8, first_order, darts),
            "reference",
        ),
        "nasbench201 darts first order, batch 8": (
            variants("nasbench201", two, 8, first_order, small),
            "reference",
        ),
        "nasbench201 gdas, batch 8": (
            variants("nasbench201", two, 8, first_order, small, gdas),
            "reference",
        ),
        "darts second order, batch 8": (
            variants("darts", ("compiled",), 8, second_order, darts),
            "compiled",
        ),
        "darts first order, batch 16": (
            variants("darts", ("compiled",), 16, first_order, darts),
            "compiled",
        ),
    }
    one, discrete = path_and_discrete()
    cases["nasbench201 one path"] = ({"path": one, "discrete": discrete}, "discrete")
    for name, (steps, base) in cases.items():
        print(name, flush=True)
        result[name] = summary(interleaved(steps, rounds), base)
        if not given.quick:
            write_result("supernets", result)
    result["peak_gb"] = {backend: round(memory(backend, darts), 3) for backend in all_three}
    print(json.dumps(result, indent=1))
    if not given.quick:
        print(write_result("supernets", result))


if __name__ == "__main__":
    main()
