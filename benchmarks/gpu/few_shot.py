"""Few-shot search at full width, in pieces that each end within ten minutes.

    python benchmarks/gpu/few_shot.py speed                    # meta-steps and 600 tasks, by layout
    python benchmarks/gpu/few_shot.py omniglot-5-1 --seed 0    # repeat until all is there

`speed` times a T-NAS meta-step (16 channels, 28 and 84 pixels, 4 tasks, 5 steps, 15 queries) with
tasks one after another, as groups of channels and by vmap, in turn, and MAML's adaptation to 600
tasks of the shapes of mini-ImageNet; it writes benchmarks/results/few-shot-speed-gpu.json. A cell
is one of few_shot_tables.py at the scale `gpu` (64 filters, 16 channels, lengths of the order of
the publications'): each call goes on from the checkpoints of the last, and writes what it has to
benchmarks/results/few-shot/<cell>-<seed>-gpu.json. --smoke tries both on a CPU in a minute.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import few_shot_tables
from _record import write_result

from transnas.meta.few_shot import Execution, evaluate, methods
from transnas.networks.few_shot import FewShotNetwork, FewShotSupernet, FourConv
from transnas.tasks import Signature
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeSource, EpisodeSpec

LAYOUTS = ("loop", "grouped", "vmap")
PARTS = ("maml", "maml++", "t-nas", "auto-maml", "random")


def seconds(step: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a step, the device's work included."""
    begun = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - begun


def meta_step(
    network: FewShotNetwork, source: EpisodeSource, layout: Any, tasks: int
) -> Callable[[], object]:
    """Return a meta-gradient of T-NAS."""
    cls = methods.get("t-nas")
    learner = cls(network, cls.Settings(steps=5), Execution(layout))
    meta = learner.init(0, source.images.device)
    batch = source.batch("train", EpisodeSpec(5, 1, 15), 0, tasks)
    return lambda: learner.meta_gradient(meta, batch, 0, tuple(meta.meta))


def compared(source: EpisodeSource, channels: int, tasks: int, rounds: int) -> dict[str, Any]:
    """Time the layouts in turn, after one round that does not count."""
    device = source.images.device
    network = FewShotSupernet(Signature(source.input_shape, 5), channels)
    steps = {layout: meta_step(network, source, layout, tasks) for layout in LAYOUTS}
    times: dict[str, list[float]] = {layout: [] for layout in LAYOUTS}
    for turn in range(rounds + 1):
        for layout, step in steps.items():
            taken = seconds(step, device)
            if turn:
                times[layout].append(taken)
    median = {layout: statistics.median(values) for layout, values in times.items()}
    return {
        "seconds": times,
        "times faster than the loop": {n: median["loop"] / m for n, m in median.items()},
    }


def adaptation(source: EpisodeSource, filters: int, episodes: int) -> dict[str, Any]:
    """Adapt MAML's network to test tasks in ten steps."""
    cls = methods.get("maml")
    network = FourConv(Signature(source.input_shape, 5), filters)
    learner = cls(network, cls.Settings(test_steps=10), Execution("grouped"))
    meta = learner.init(0, source.images.device).meta
    found = evaluate(learner, meta, source, "test", EpisodeSpec(5, 1, 15), episodes)
    return {"episodes": episodes, "seconds": found.seconds}


def speed(device: str, smoke: bool) -> None:
    """Measure both, and write them."""
    channels, tasks, rounds, episodes = (2, 2, 1, 4) if smoke else (16, 4, 5, 600)
    small, large = get_source("omniglot").to(device), get_source("mini-imagenet").to(device)
    name = torch.cuda.get_device_name(device) if device != "cpu" else "cpu"
    result: dict[str, Any] = {"device": name}
    result["T-NAS, 28 pixels"] = compared(small, channels, tasks, rounds)
    if not smoke:
        result["T-NAS, 84 pixels"] = compared(large, channels, tasks, rounds)
    result["600 tasks, 84 pixels"] = adaptation(large, 4 if smoke else 32, episodes)
    print(result, flush=True)
    if not smoke:
        write_result("few-shot-speed-gpu", result)


def main() -> None:
    """Measure the speed, or go on with a cell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", help="speed, or a cell: data set, way and shot, as omniglot-5-1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=9.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--smoke", action="store_true")
    given = parser.parse_args()
    if given.what == "speed":
        speed(given.device, given.smoke)
        return
    scale = "smoke" if given.smoke else "gpu"
    few_shot_tables.run(given.what, given.seed, scale, given.device, 60 * given.minutes, PARTS)
    print("all is there")


if __name__ == "__main__":
    main()
