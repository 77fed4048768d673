"""Speed of a meta-step, layouts interleaved in one run, and of 600 test tasks.

    OMP_NUM_THREADS=1 python benchmarks/few_shot.py [--rounds 3] [--parts tnas conv evaluation]

Seconds are of the process's CPU time, the least of the rounds. Writes
benchmarks/results/few-shot-speed.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from _record import RESULTS, write_result

from transnas.meta.few_shot import Execution, evaluate, methods
from transnas.networks.few_shot import FewShotSupernet, FourConv
from transnas.tasks import Signature
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeSpec

LAYOUTS = {
    "loop": Execution("loop"),
    "loop, channels last": Execution("loop", channels_last=True),
    "grouped": Execution("grouped"),
    "grouped, channels last": Execution("grouped", channels_last=True),
    "compiled": Execution("compiled", channels_last=True),
    "auto": Execution(),
}


def interleaved(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Return the least CPU seconds of each step; they take turns."""
    least = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            begun = time.process_time()
            step()
            least[name] = min(least[name], time.process_time() - begun)
            print(f"{name:24} {least[name]:.3f} s", flush=True)
    return {name: round(seconds, 4) for name, seconds in least.items()}


def meta_steps(
    method: str, network: Any, spec: EpisodeSpec, tasks: int, rounds: int, **settings: Any
) -> dict[str, Any]:
    """Time the meta-gradient of one meta-batch of Omniglot in every layout."""
    source = get_source("omniglot")
    batch = source.batch("train", spec, 0, tasks)
    cls = methods.get(method)
    steps: dict[str, Callable[[], object]] = {}
    for name, execution in LAYOUTS.items():
        if name == "compiled" and not cls.searches:
            continue
        learner = cls(network, cls.Settings(**settings), execution)
        state = learner.init(0)
        learner.resolve(state, batch)

        def step(learner: Any = learner, state: Any = state) -> object:
            return learner.meta_gradient(state, batch, 99, tuple(state.meta))

        steps[name] = step
    least = interleaved(steps, rounds)
    ratios = {name: round(least["loop"] / seconds, 2) for name, seconds in least.items()}
    told = {"seconds": least, "times faster than the loop": ratios, "settings": settings}
    return {**told, "auto": repr(learner.execution)}


def tnas(rounds: int) -> dict[str, Any]:
    """The published setting: 28x28, 5-way 1-shot, 15 queries, 4 tasks, 5 steps, 16 channels.

    With the published stem, which pools twice (cells see 7x7 and 4x4), and with ours (once).
    """
    found = {}
    for name, poolings in (("stem pools twice", 2), ("stem pools once", 1)):
        network = FewShotSupernet(Signature((1, 28, 28), 5), 16, poolings)
        found[name] = meta_steps("t-nas", network, EpisodeSpec(5, 1, 15), 4, rounds, steps=5)
    return found


def conv(rounds: int) -> dict[str, Any]:
    """MAML on four convolutions: 8 filters with 32 tasks, both orders; 64 filters with 8."""
    found = {}
    for filters, tasks, order in ((8, 32, 1), (8, 32, 2), (64, 8, 1)):
        network = FourConv(Signature((1, 28, 28), 5), filters)
        name = f"{filters} filters, {tasks} tasks, order {order}"
        spec = EpisodeSpec(5, 1, 15)
        found[name] = meta_steps("maml", network, spec, tasks, rounds, steps=5, order=order)
    return found


def evaluation(rounds: int) -> dict[str, Any]:
    """600 test tasks of Omniglot, 5-way 1-shot, 15 queries, 10 steps: the network of MAML."""
    source, spec = get_source("omniglot"), EpisodeSpec(5, 1, 15)
    cls = methods.get("maml")
    network = FourConv(Signature((1, 28, 28), 5), 64)
    learner = cls(network, cls.Settings(), Execution("grouped", channels_last=True))
    begun, cpu = time.perf_counter(), time.process_time()
    evaluate(learner, learner.init(0).meta, source, "test", spec)
    return {
        "wall seconds": round(time.perf_counter() - begun, 1),
        "cpu seconds": round(time.process_time() - cpu, 1),
        "threads": torch.get_num_threads(),
    }


PARTS = {"tnas": tnas, "conv": conv, "evaluation": evaluation}


def main() -> None:
    """Run the parts that were asked for, and keep the results of the others."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="*", choices=sorted(PARTS), default=list(PARTS))
    given = parser.parse_args()
    path = RESULTS / "few-shot-speed.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    for part in given.parts:
        found[part] = PARTS[part](given.rounds)
        found.pop("machine", None)
        write_result("few-shot-speed", found)


if __name__ == "__main__":
    main()
