"""How a meta-batch is computed: the layout of its tasks, and how many at a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from transnas._errors import InputError, unknown
from transnas.networks.few_shot import BatchStatistics, FewShotNetwork, run

__all__ = ["ADAPTING", "CACHE", "Execution", "choose", "image_bytes", "tasks_at_once"]

LayoutName = Literal["auto", "loop", "grouped", "compiled", "vmap"]
_ROUNDS = 3
CACHE = 48 * 2**20
"""Bytes that tasks keep for the backward pass where they run fastest together on a processor
(measured for MAML's four convolutions: 25 to 60 MB)."""


@dataclass(frozen=True)
class Execution:
    """All layouts give the same result up to rounding; they differ in speed and memory."""

    layout: LayoutName = "auto"
    """`loop`: one task after another; `grouped`: tasks as groups of channels; `compiled`: grouped,
    the cells' convolutions by the compiled kernel where it runs; `vmap`; `auto`: measured."""
    channels_last: bool = False
    """Memory format of maps in `loop` and `grouped`; `auto` chooses it too."""
    chunk: int | None = None
    """Most tasks at a time; None: as many as a quarter of the memory holds that is free now, in a
    meta-training when it begins."""

    def __post_init__(self) -> None:
        if self.layout not in get_args(LayoutName):
            raise unknown("layout", self.layout, get_args(LayoutName))
        if self.chunk is not None and self.chunk < 1:
            raise InputError(f"chunk {self.chunk} is not accepted; accepted: numbers from 1")


ADAPTING = Execution("compiled", channels_last=True)
"""Of one new task: three to four times as fast as torch alone on a supernet, where the kernel runs,
and not worth measuring."""


def choose(
    execution: Execution,
    step: Callable[[Execution], object],
    device: torch.device,
    fuses: bool,
    cached: int | None = None,
) -> Execution:
    """Return the fastest execution of `step` by measurement, if its layout is `auto`.

    Each candidate runs once to warm up; those within twice the best are then timed three times in
    turn and the least time decides. `fuses`: the compiled kernel runs, and is taken. vmap is a
    candidate on accelerators only: on a processor it is never the fastest. `cached`: with so many
    tasks at a time, fewer than there are, maps stay in a processor's caches; tried as well.
    """
    if execution.layout != "auto":
        return execution
    candidates = [
        replace(execution, layout=layout, channels_last=last)
        for layout in ("grouped", "loop")
        for last in (False, True)
    ]
    if fuses:  # several times faster than any other layout
        candidates = [replace(execution, layout="compiled", channels_last=True)]
    if device.type != "cpu":
        candidates.append(replace(execution, layout="vmap"))
    elif cached is not None and execution.chunk is None:
        candidates += [replace(c, chunk=cached) for c in candidates if c.layout != "loop"]
    if len(candidates) == 1:
        return candidates[0]
    first = {candidate: _seconds(step, candidate, device) for candidate in candidates}
    close = [c for c in candidates if first[c] <= 2 * min(first.values())]
    least = dict.fromkeys(close, float("inf"))
    for _ in range(_ROUNDS):
        for candidate in close:
            least[candidate] = min(least[candidate], _seconds(step, candidate, device))
    return min(close, key=least.__getitem__)


def _seconds(
    step: Callable[[Execution], object], candidate: Execution, device: torch.device
) -> float:
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    step(candidate)
    if device.type != "cpu":
        torch.cuda.synchronize(device)
    return clock() - begun


def image_bytes(network: FewShotNetwork, params: dict[str, Tensor]) -> int:
    """Return what one image's forward pass keeps for the backward pass, in bytes.

    `params` are one task's parameters, without a task dimension.
    """
    single = {name: value.detach()[None].requires_grad_() for name, value in params.items()}
    weights = {value.data_ptr() for value in single.values()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            saved[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    images = 2  # one alone cannot be normalised where a map has one pixel
    some = next(iter(single.values()))
    x = some.new_zeros(1, images, *network.signature.input_shape)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run(network, single, x, BatchStatistics())
    return sum(saved.values()) // images


def tasks_at_once(bytes_a_task: int, device: torch.device) -> int:
    """Return how many tasks fit into a quarter of the memory that is free now; at least one."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        free = torch.cuda.mem_get_info(device)[0] + kept  # torch keeps what it has freed
    else:
        free = _free_bytes()
    return max(1, free // 4 // max(bytes_a_task, 1))


def _free_bytes() -> int:
    """Return the memory that new programs can have; what the system caches of files counts."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:  # not Linux: what there is in all
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
