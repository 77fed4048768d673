"""Few-shot tables: meta-train, adapt to test episodes, and write one JSON a cell.

    python benchmarks/few_shot_tables.py omniglot-5-1 --seed 0 --scale cpu
    python benchmarks/few_shot_tables.py omniglot-5-1 --scale gpu --device cuda --max-seconds 540

A cell that has a result is left alone, and an unfinished meta-training goes on from its
checkpoint, so the same command may be repeated. `benchmarks/_few_shot_page.py` makes
docs/results/few-shot.md of the results.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import RESULTS, write_result
from torch.nn import functional as F

from transnas.meta.few_shot import (
    Execution,
    Learner,
    Plan,
    Trained,
    decode,
    diversity,
    evaluate,
    meta_train,
    methods,
)
from transnas.meta.few_shot.decoding import SPACE
from transnas.meta.few_shot.derived import Inheriting, decoded_network, inherited
from transnas.meta.few_shot.evaluation import Evaluation
from transnas.networks.few_shot import LOGITS, FewShotSupernet, FourConv
from transnas.spaces import Architecture
from transnas.tasks import Signature
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeSource, EpisodeSpec

CHECKPOINTS = Path("build")


COMPILED = Execution("compiled", channels_last=True, chunk=8)
"""Tasks as groups of channels; the cells' convolutions by the kernel where that runs."""


ANNEALED = {"outer_rate": 1e-2, "annealed_to": 2e-4}
"""For trainings of some hundred meta-steps.

Chosen on validation episodes of omniglot-5-1: with the published 1e-3, constant, a decoded network
ends 5 to 18 points lower; with 3e-2, or with more tasks in a meta-step, lower as well.
"""


@dataclass(frozen=True)
class Scale:
    """What one kind of machine can afford."""

    filters: int
    channels: int
    tasks: int
    steps: int
    test_steps: int
    query: int
    fixed_steps: int
    """Meta-steps of the four-convolution network."""
    search_steps: int
    decoded_steps: int
    decoded_order: int
    """Of MAML++'s meta-gradients of decoded networks; the second takes three times as long."""
    architectures: int
    """Decoded, and as many random, architectures that are trained."""
    episodes: int = 600
    mixed_episodes: int = 600
    """Episodes on which supernets are tested."""
    validations: int = 10
    """Times that a meta-training is validated."""
    validation_episodes: int = 60
    side: int = 84
    """Larger images are averaged down to so many pixels."""
    execution: Execution = COMPILED
    outer: dict[str, Any] = field(default_factory=lambda: dict(ANNEALED))
    """Settings of the outer rate, but where a method has others."""


CPU = Scale(
    16, 8, 4, 3, 5, 5, 500, 240, 300, 1, 1, mixed_episodes=60, validations=4,
    validation_episodes=40, side=32,
)  # fmt: skip
SCALES = {
    "cpu": CPU,
    "smoke": replace(
        CPU, filters=4, channels=2, steps=1, test_steps=1, fixed_steps=4, search_steps=2,
        decoded_steps=2, architectures=1, episodes=8,
    ),
    "long": replace(CPU, fixed_steps=4000, search_steps=480, decoded_steps=2400),
    "gpu": Scale(
        64, 16, 16, 5, 10, 15, 20_000, 3_000, 6_000, 2, 4, execution=Execution("auto"), outer={},
    ),
}  # fmt: skip
LONGER = {
    "mini-imagenet": replace(
        CPU, fixed_steps=2000, search_steps=320, decoded_steps=800,
        outer={"outer_rate": 4e-3, "annealed_to": 1e-4},
    ),
}  # fmt: skip
"""At scale `cpu`, data sets on which the shorter trainings hardly leave their start.

Chosen on validation episodes of seed 0. With 0.01, four convolutions end no higher than they begin,
however long they train; 0.001 to 0.004 are alike.
"""
RATES: dict[str, dict[str, Any]] = {
    "maml": {"inner_rate": 0.1},
    "anil": {"inner_rate": 0.1},
    "reptile": {"inner_rate": 0.1, "outer_rate": 0.3, "annealed_to": None},
    "maml++": {"inner_rate": 0.1, "multi_step_epochs": 4},
    "t-nas": {"inner_rate": 0.1},
    "auto-maml": {"inner_rate": 0.1, "outer_logits_rate": 1e-2},
}
"""What differs from the defaults: MAML's rate for Omniglot, and schedules that fit the length."""
EPOCHS = 10
"""Of every meta-training."""


class Cell:
    """One data set, way, shot and seed at one scale.

    Where a task has more than five support images, a meta-batch has half as many tasks (as MAML has
    on mini-ImageNet), and rows that answer no question of the table are left out.
    """

    folder = "few-shot"
    """Where results and checkpoints go."""

    def __init__(
        self, name: str, seed: int, scale_name: str, device: str, seconds: float | None = None
    ) -> None:
        self.until = None if seconds is None else time.monotonic() + seconds
        self.data, way, shot = name.rsplit("-", 2)
        self.name = f"{name}-{seed}" if scale_name == "cpu" else f"{name}-{seed}-{scale_name}"
        self.seed, self.scale = seed, SCALES[scale_name]
        if scale_name == "cpu":
            self.scale = LONGER.get(self.data, self.scale)
        self.source = self.open().to(device)
        self.spec = EpisodeSpec(int(way), int(shot), self.scale.query)
        self.small = self.spec.way * self.spec.shot <= 5
        self.tasks = self.scale.tasks if self.small else self.scale.tasks // 2
        self.signature = Signature(self.source.input_shape, self.spec.way)
        self.rows: dict[str, dict[str, Any]] = {}
        self.path = RESULTS / self.folder / f"{self.name}.json"
        if self.path.exists():
            self.rows = json.loads(self.path.read_text())["rows"]

    def open(self) -> EpisodeSource:
        """Return the source of the cell's data."""
        source = get_source(self.data)
        return sized(source, min(source.input_shape[-1], self.scale.side))

    def row(self, name: str, make: Callable[[], dict[str, Any]]) -> None:
        """Add a row unless it is there, and write what there is."""
        if name in self.rows:
            return
        begun, cpu = time.perf_counter(), time.process_time()
        found = make()
        found |= {
            "wall_seconds": round(time.perf_counter() - begun, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
        }
        self.rows[name] = found
        told = {"scale": repr(self.scale), "rows": self.rows}
        write_result(f"{self.folder}/{self.name}", told)
        shown = {k: v for k, v in found.items() if k in ("accuracy", "half", "wall_seconds")}
        print(self.name, name, shown, flush=True)

    def learner(self, method: str, network: Any, **more: Any) -> Learner:
        cls, scale = methods.get(method), self.scale
        options = {"steps": scale.steps, "test_steps": scale.test_steps, "epochs": EPOCHS}
        options |= {**scale.outer, **RATES[method], **more}
        return cls(network, cls.Settings(**options), self.scale.execution)

    def train(self, learner: Learner, steps: int, key: str) -> Trained:
        """Meta-train, from a checkpoint if there is one."""
        saved, every = max(steps // EPOCHS, 1), max(steps // self.scale.validations, 1)
        episodes = min(self.scale.validation_episodes, self.scale.episodes)
        plan = Plan(self.spec, self.tasks, steps, every, episodes, saved, self.seed)
        folder = CHECKPOINTS / self.folder / self.name / key.replace(" ", "-")
        left = None if self.until is None else max(self.until - time.monotonic(), 0.0)
        found = meta_train(learner, self.source, plan, folder, left)
        if found.finished < steps:
            sys.exit(f"{self.name} {key}: {found.finished} of {steps} meta-steps; run it again")
        return found

    def score(
        self, learner: Learner, meta: dict[str, torch.Tensor], episodes: int | None = None
    ) -> Evaluation:
        """Measure on the first test episodes, at most those of the scale."""
        count = min(episodes or self.scale.episodes, self.scale.episodes)
        return evaluate(learner, meta, self.source, "test", self.spec, count)


def sized(source: EpisodeSource, side: int) -> EpisodeSource:
    """Return the source on square images of `side` pixels."""
    if source.input_shape[1:] == (side, side):
        return source
    images = F.interpolate(source.images.float(), size=(side, side), mode="area")
    return replace(source, images=images.round().byte().contiguous())


def coloured(source: EpisodeSource) -> EpisodeSource:
    """Return the source in three colours."""
    return replace(source, images=source.images.expand(-1, 3, -1, -1).contiguous())


def told(result: Evaluation, trained: Trained | None = None, **more: Any) -> dict[str, Any]:
    """Return the figures of one row."""
    classes = result.class_interval
    found = {
        "accuracy": result.interval.mean,
        "half": result.interval.half,
        "class_low": classes.low,
        "class_high": classes.high,
        "diverged": result.diverged,
        "evaluation_seconds": round(result.seconds, 1),
        "per_episode": np.round(result.accuracies, 4).tolist(),
        **more,
    }
    if trained is not None:
        found |= {
            "meta_steps": trained.finished,
            "meta_seconds": round(trained.seconds, 1),
            "validation_accuracy": trained.best_accuracy,
            "skipped": trained.state.skipped,
        }
    return found


def fixed(cell: Cell, method: str) -> None:
    """The four-convolution network by one method."""

    def make() -> dict[str, Any]:
        network = FourConv(cell.signature, cell.scale.filters)
        learner = cell.learner(method, network)
        trained = cell.train(learner, cell.scale.fixed_steps, method)
        parameters = {"parameters": network.count}
        start = cell.score(learner, learner.init(cell.seed).meta)
        more = {"start": start.interval.mean, **parameters}
        return told(cell.score(learner, trained.best), trained, **more)

    cell.row(f"{method} 4conv", make)


def searched(cell: Cell, method: str) -> None:
    """A searching method: its adapted supernet, its decoded paths, its retrained architectures."""
    network = FewShotSupernet(cell.signature, cell.scale.channels)
    learner = cell.learner(method, network)
    trained = cell.train(learner, cell.scale.search_steps, method)
    meta = trained.best
    adapted = []
    count = min(100, cell.scale.episodes)
    for first in range(0, count, 20):
        batch = cell.source.batch("test", cell.spec, first, min(20, count - first))
        adapted.append(learner.adapt(meta, batch.xs, batch.ys)[LOGITS])
    found = diversity(torch.cat(adapted), meta[LOGITS])

    def mixture() -> dict[str, Any]:
        start = cell.score(learner, learner.init(cell.seed).meta, 100)
        genotypes = [[SPACE.to_text(arch), times] for arch, times in found.counts[:10]]
        more = {
            "parameters": network.count,
            "start": start.interval.mean,
            "distinct": found.distinct,
            "of": count,
            "hamming": found.hamming,
            "moved": found.moved,
            "architectures": genotypes,
            "meta_architecture": SPACE.to_text(decode(meta[LOGITS][None])[0]),
        }
        return told(cell.score(learner, meta, cell.scale.mixed_episodes), trained, **more)

    cell.row(f"{method} supernet", mixture)
    if cell.small:
        cell.row(
            f"{method} inherit",
            lambda: told(cell.score(Inheriting(learner), meta, cell.scale.mixed_episodes)),
        )
    for i, (arch, _) in enumerate(found.counts[: cell.scale.architectures]):
        decoded(cell, f"{method} retrain {i}", arch, network, "maml")
        if method == "t-nas" and i == 0:
            decoded(cell, f"t-nas++ retrain {i}", arch, network, "maml++")
            if cell.small:
                decoded(cell, f"{method} warm {i}", arch, network, "maml", meta)


def decoded(
    cell: Cell,
    row: str,
    arch: Architecture,
    supernet: FewShotSupernet,
    method: str,
    warm: dict[str, torch.Tensor] | None = None,
) -> None:
    """Meta-train one architecture, from scratch or from the supernet's weights (`warm`)."""

    def make() -> dict[str, Any]:
        network = decoded_network(arch, supernet)
        order = {"order": cell.scale.decoded_order} if method == "maml++" else {}
        learner = cell.learner(method, network, **order)
        if warm is not None:
            start = inherited(arch, supernet, {n: v.cpu() for n, v in warm.items()})
            draw = network.draw
            network.draw = lambda n, g: start[n].clone() if n in start else draw(n, g)  # type: ignore[method-assign]
        trained = cell.train(learner, cell.scale.decoded_steps, row)
        result = cell.score(learner, trained.best)
        return told(result, trained, parameters=network.count, architecture=SPACE.to_text(arch))

    cell.row(row, make)


def random_architectures(cell: Cell) -> None:
    """Uniform architectures, meta-trained as the decoded ones are."""
    supernet = FewShotSupernet(cell.signature, cell.scale.channels)
    rng = np.random.default_rng(1000 + cell.seed)
    for i in range(cell.scale.architectures):
        arch = SPACE.sample(rng)
        decoded(cell, f"random retrain {i}", arch, supernet, "maml")


def run(
    name: str, seed: int, scale: str, device: str, seconds: float | None, parts: Sequence[str]
) -> None:
    """Run the parts of a cell that have no result yet; ends the program when time is over."""
    cell = Cell(name, seed, scale, device, seconds)
    for part in parts:
        if part == "random":
            random_architectures(cell)
        elif methods.get(part).searches:
            searched(cell, part)
        else:
            fixed(cell, part)


def main() -> None:
    """Run the parts of a cell that have no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cell", help="data set, way and shot, as in omniglot-5-1")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", choices=sorted(SCALES), default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--max-seconds", type=float, help="stop then, to be continued")
    parser.add_argument("--parts", nargs="*", default=["maml", "maml++", "anil", "reptile", "t-nas",
                                                       "auto-maml", "random"])  # fmt: skip
    given = parser.parse_args()
    run(given.cell, given.seed, given.scale, given.device, given.max_seconds, given.parts)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    sys.path.insert(0, str(Path(__file__).parent))
    main()
