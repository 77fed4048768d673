"""What interleaved search costs: seconds of a round, and memory.

    python benchmarks/interleaved_cost.py

Writes benchmarks/results/interleaved-cost.json, which the page of interleaved.py shows.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, cast

import torch
from _record import write_result
from interleaved import ALONE, MAIN, SETS, Changes

from transnas import spaces
from transnas.meta.interleaved import InterleaveSettings, Interleaving
from transnas.spaces import Space
from transnas.tasks import DataTask


def cost() -> None:
    """Measure rounds against their single-task steps, in turn in one process; count memory."""
    everything = SETS[MAIN].load()
    space = spaces.get("nasbench201")
    torch.set_num_threads(1)
    rounds, memory = dict[str, Any](), dict[str, Any]()
    found = {"rounds": rounds, "memory": memory}
    for label, changes in (
        ("defaults, batches of 64", {"batch_size": 64}),
        ("defaults, batches of 256 (published)", {"batch_size": 256}),
        ("batches of 64, matched sets every 4 steps", {"batch_size": 64, "match_every": 4}),
    ):
        rounds[label] = _ratio(everything, space, changes)
        print(label, rounds[label]["ratio"], rounds[label]["transfer_share"], flush=True)
        write_result("interleaved-cost", found)
    for k in (2, 5, 10):
        many = [replace(everything[i % 5], name=f"{everything[i % 5].name}-{i}") for i in range(k)]
        memory[str(k)] = _memory(many, space)
        print(k, memory[str(k)], flush=True)
        write_result("interleaved-cost", found)
    found["batched"] = _batched(everything, space)
    print("batched", found["batched"], flush=True)
    write_result("interleaved-cost", found)


def _ratio(everything: list[DataTask], space: Space, changes: Changes) -> dict[str, Any]:
    """Return the cost of rounds with transfer over that of rounds without, over whole periods."""
    pair = []
    for preset in ("joint", "none"):
        settings = InterleaveSettings(
            preset=preset, iterations=100000, transfer_ramp=0.0, warmup=1.0, **changes
        )
        pair.append(
            Interleaving(everything, space, settings, skeleton={"channels": 8, "cells": 1},
                         device="cpu")
        )  # fmt: skip
    every = pair[0].settings.match_every
    assert every is not None
    times: list[list[float]] = [[], []]
    for search in pair:
        for _ in search.units:
            search.advance()
    for _ in range(every):
        for search, taken in zip(pair, times, strict=True):
            before = time.process_time()
            for _ in search.units:
                search.advance()
            taken.append(time.process_time() - before)
    joint, plain = sum(times[0]), sum(times[1])
    share = pair[0].cost.transfer_seconds / pair[0].cost.seconds
    counted = pair[0].cost
    return {
        "ratio": joint / plain,
        "transfer_share": share,
        "match_every": every,
        "seconds": times,
        "images": counted.images,
        "matched": counted.matched_images,
    }


def _memory(many: list[DataTask], space: Space) -> dict[str, int]:
    """Return the bytes that a search of `many` tasks holds, and the most that a pass adds."""
    from torch.profiler import ProfilerActivity, profile

    settings = InterleaveSettings(match_every=1, iterations=100, transfer_ramp=0.0)
    search = Interleaving(many, space, settings, skeleton={"channels": 8, "cells": 1}, device="cpu")
    for _ in search.units:  # momentum is there after the first steps
        search.advance()
    held = {
        t.data_ptr(): t.numel() * t.element_size()
        for x in search.learners
        for t in (*x.encoder.parameters(), *x.head.parameters(), *_momenta(x.optimiser))
    }
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        for _ in search.units:
            search.advance()
    now = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            now += event.nbytes()
            most = max(most, now)
    return {"held": sum(held.values()), "peak": most}


def _momenta(optimiser: torch.optim.Optimizer) -> list[torch.Tensor]:
    return [v for s in optimiser.state.values() for v in s.values() if torch.is_tensor(v)]


def _batched(everything: list[DataTask], space: Space) -> dict[str, Any]:
    """Return the time of all tasks' passes in one batched pass over that of one after another."""
    settings = InterleaveSettings(**ALONE, paths="last", iterations=10)  # the kernel has no vmap
    search = Interleaving(
        everything, space, settings, skeleton={"channels": 8, "cells": 1}, device="cpu"
    )
    encoders = [x.encoder for x in search.learners]
    alone = Interleaving(
        everything, space, InterleaveSettings(**ALONE, iterations=10),
        skeleton={"channels": 8, "cells": 1}, device="cpu",
    )  # fmt: skip
    weights, buffers = torch.func.stack_module_state(encoders)
    images = torch.stack([x.train.next()[0] for x in search.learners])

    def one(w: Any, b: Any, x: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, torch.func.functional_call(encoders[0], (w, b), (x,)))

    times: list[list[float]] = [[], []]
    for _ in range(5):
        before = time.process_time()
        for learner, x in zip(alone.learners, images, strict=True):
            torch.autograd.backward(learner.encoder(x, learner.mix()).square().mean())
        times[0].append(time.process_time() - before)
        before = time.process_time()
        torch.autograd.backward(torch.vmap(one)(weights, buffers, images).square().mean())
        times[1].append(time.process_time() - before)
    ratio = sorted(times[1])[2] / sorted(times[0])[2]
    return {"tasks": len(everything), "ratio": ratio, "seconds": times}


if __name__ == "__main__":
    cost()
