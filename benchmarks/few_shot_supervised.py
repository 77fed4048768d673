"""The 200-shot, 10-way table: is adapting a meta-learnt architecture as good as searching anew?

    python benchmarks/few_shot_supervised.py [--tasks 10] [--others 5] [--max-seconds S]

Ten tasks, each ten test classes of CIFAR-FS with 200 training and 50 query images a class (the
provided mini-ImageNet has only 120 images a class), brought to 16 x 16 pixels. T-NAS is
meta-trained on the training classes, 10-way 5-shot; a task adapts its logits as an episode does, on
five of its training images a class. Architectures of every row are then trained from scratch on the
2,000 images by one recipe and scored once on the 500 query images. Rows: uniform architectures;
first-order DARTS on other tasks (the published S2); the meta-learnt logits without adaptation;
adapted; DARTS on the task itself (S1). Writes benchmarks/results/few-shot-supervised.json after
each training and goes on from what is there.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from _record import RESULTS, write_result
from few_shot_tables import SCALES, Cell, coloured, sized
from torch import Tensor
from torch.utils.data import TensorDataset, default_collate

from transnas import oneshot, spaces
from transnas.evaluation.training import Recipe
from transnas.meta.few_shot import decode
from transnas.networks.few_shot import LOGITS, FewShotSupernet
from transnas.spaces import Architecture
from transnas.studies.final import train_final
from transnas.tasks import DataTask
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeSource

SPACE = spaces.get("darts")
SKELETON = {"channels": 8, "layers": 3}
WAY, SHOT, QUERY, SIDE = 10, 200, 50, 16
UNIFORM = 3
"""Uniform architectures a task."""
SUPPORT = 5
"""Images of a class that a task adapts to, as many as in meta-training."""
NAME = "few-shot-supervised"


class Table(Cell):
    """The meta-training that all tasks share."""

    folder = NAME

    def open(self) -> EpisodeSource:
        return coloured(sized(get_source(self.data), SIDE))


def task_of(source: EpisodeSource, split: str, number: int) -> DataTask:
    """Return task `number`: ten classes of a split, its own training and query images."""
    rng = np.random.default_rng([number, len(split)])
    classes = rng.permutation(source.splits[split])[:WAY]
    labels = source.labels.numpy()
    parts: dict[str, list[tuple[Tensor, int]]] = {"train": [], "validation": [], "test": []}
    for label, member in enumerate(classes):
        own = torch.from_numpy(rng.permutation(np.flatnonzero(labels == member)))
        images = source.normalise(source.images[own[: SHOT + QUERY]])
        half = SHOT // 2  # the search halves the training images
        for part, slab in (("train", slice(half)), ("validation", slice(half, SHOT)),
                           ("test", slice(SHOT, None))):  # fmt: skip
            parts[part] += [(image, label) for image in images[slab]]
    sets = {n: TensorDataset(torch.stack([i for i, _ in p]), torch.tensor([l for _, l in p]))  # noqa: E741
            for n, p in parts.items()}  # fmt: skip
    names = tuple(source.classes[int(c)] for c in classes)
    return DataTask.from_datasets(
        f"{split}-{number}", **sets, classes=names, augmentation="natural"
    )


def searched(task: DataTask, epochs: int) -> Architecture:
    """First-order DARTS from scratch on a task; the rates are raised, as the search is short."""
    chosen = oneshot.get("darts").Settings(epochs=epochs, batch_size=32, logits_learning_rate=0.01)  # type: ignore[call-arg]
    found = oneshot.search(task, SPACE, "darts", chosen, skeleton=SKELETON, seed=0, device="cpu")
    return found.architecture


class Runs:
    """What was measured, kept after each training."""

    def __init__(self, epochs: int, until: float) -> None:
        path = RESULTS / f"{NAME}.json"
        self.epochs, self.until = epochs, until
        self.found: dict[str, Any] = json.loads(path.read_text())["found"] if path.exists() else {}

    def once(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of `key`, computed unless it is there."""
        if key not in self.found:
            if time.monotonic() > self.until:
                raise SystemExit("out of time; run it again")
            started = time.process_time()
            self.found[key] = {**make(), "cpu_seconds": round(time.process_time() - started, 1)}
            print(key, self.found[key], flush=True)
            settings = {"skeleton": SKELETON, "epochs": self.epochs, "way": WAY, "shot": SHOT}
            write_result(NAME, {"settings": settings, "found": self.found})
        result: dict[str, Any] = self.found[key]
        return result

    def architecture(self, key: str, make: Callable[[], Architecture]) -> Architecture:
        """Return an architecture and keep how long finding it took."""
        found = self.once(key, lambda: {"architecture": SPACE.to_text(make())})
        return SPACE.from_text(found["architecture"])

    def score(self, row: str, task: DataTask, arch: Architecture) -> None:
        """Train an architecture from scratch, and look at the query images once."""

        def make() -> dict[str, Any]:
            recipe = Recipe(epochs=self.epochs, batch_size=64)
            _, test = train_final(task, SPACE, arch, self.epochs, 0, recipe, "cpu", SKELETON)
            return {"accuracy": test.metrics["test_accuracy"]}

        self.once(f"{row} | {task.name}", make)


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10)
    parser.add_argument("--others", type=int, default=5, help="single-task searches to transfer")
    parser.add_argument("--epochs", type=int, default=15, help="of a training")
    parser.add_argument("--search-epochs", type=int, default=6)
    parser.add_argument("--scale", choices=sorted(SCALES), default="cpu")
    parser.add_argument("--max-seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    cell = Table(f"cifar-fs-{WAY}-{SUPPORT}", 0, given.scale, "cpu")
    network = FewShotSupernet(cell.signature, cell.scale.channels)
    learner = cell.learner("t-nas", network)
    trained = cell.train(learner, cell.scale.search_steps, "t-nas")
    runs = Runs(given.epochs, time.monotonic() + given.max_seconds)
    runs.once("meta-training", lambda: {"seconds": trained.seconds, "steps": trained.finished})

    def adapted(task: DataTask) -> Architecture:
        """Adapt on some of the task's training images."""
        images, labels = default_collate(list(task.joined()))  # type: ignore[arg-type]
        rng = np.random.default_rng(0)
        own = [np.flatnonzero(labels.numpy() == c) for c in range(WAY)]
        chosen = torch.from_numpy(np.concatenate([rng.permutation(o)[:SUPPORT] for o in own]))
        fast = learner.adapt(trained.best, images[chosen][None], labels[chosen][None])
        return decode(fast[LOGITS])[0]

    meta_arch = decode(trained.best[LOGITS][None])[0]
    others = [task_of(cell.source, "train", i) for i in range(given.others)]
    for number in range(given.tasks):
        task = task_of(cell.source, "test", number)
        rng = np.random.default_rng([7, number])
        for i in range(UNIFORM):
            runs.score(f"uniform {i}", task, SPACE.sample(rng))
        runs.score("meta", task, meta_arch)
        adapt = runs.architecture(f"adapt | {task.name}", lambda task=task: adapted(task))  # type: ignore[misc]
        runs.score("adapted", task, adapt)
        key = f"search | {task.name}"
        own = runs.architecture(key, lambda task=task: searched(task, given.search_epochs))  # type: ignore[misc]
        runs.score("searched", task, own)
        for other in others:
            key = f"search | {other.name}"
            arch = runs.architecture(key, lambda t=other: searched(t, given.search_epochs))  # type: ignore[misc]
            runs.score(f"transferred {other.name}", task, arch)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    main()
