"""Interleaved multi-task search beside its baselines and ablations: five tasks, one an outlier.

    python benchmarks/interleaved.py evidence --seeds 5     # accuracies; goes on where it stopped
    python benchmarks/interleaved.py colour --seeds 5       # the same for a set in colour
    python benchmarks/interleaved.py cells --seeds 3        # derived cells looked up in tables
    python benchmarks/interleaved.py mixed                  # three kinds of task in one run
    python benchmarks/interleaved.py similarity             # distances between the tasks

Every method sees the same number of images; phase 2 trains each architecture anew on each task, and
looks at test data once, at its end. Results are written after every seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from _record import RESULTS, write_result

from transnas import evaluation, spaces, studies, tasks
from transnas.evaluation.training import Recipe, measure, workplace
from transnas.meta.interleaved import InterleaveSettings, Interleaving
from transnas.meta.interleaved.baselines import BASELINES, Found, Problem, interleaved
from transnas.meta.interleaved.order import task_distances
from transnas.meta.interleaved.phase2 import Trained, train_interleaved, train_separately
from transnas.spaces import Architecture
from transnas.studies.report._interleaved import headline
from transnas.tasks import DataTask
from transnas.tasks._resized import resized
from transnas.tasks._subset import of_classes

EPOCHS = 8
SUPERNET, FINAL = {"channels": 8, "cells": 1}, {"channels": 8, "cells": 1}
RECIPE = Recipe(batch_size=25, learning_rate=0.05)
BASE = InterleaveSettings(
    preset="joint", iterations=16, batch_size=8, anchors=4, views=8, logits_learning_rate=0.05,
    learning_rate=0.05, match_every=4,
)  # fmt: skip
MAIN = "interleaved"
Changes = Mapping[str, Any]
ALONE: Changes = {"preset": "none", "transfer_weight": 0.0}


def _rounds(m: int) -> Changes:
    """Return M rounds with as many iterations as keep the images: M + 1 batches each of a task."""
    assert BASE.iterations is not None
    return {"rounds": m, "iterations": round(BASE.iterations * (BASE.rounds + 1) / (m + 1))}


ABLATIONS: dict[str, Changes] = {
    "none, M=1": {**ALONE, **_rounds(1)},
    "none": ALONE,
    "M=1": _rounds(1),
    "M=3": _rounds(3),
    "M=4": _rounds(4),
    "published": {"preset": "published", "transfer_weight": 1.0, "match_every": 1},
    "soft": {"preset": "soft"},
    "distil": {"preset": "distil"},
    "hypernetwork, chunked": {"hyper": "chunked", "hyper_chunk": 1024, "hyper_hidden": 32},
    "hypernetwork, film": {"hyper": "film", "hyper_hidden": 32},
    "outlier first": {"order": "reverse"},
    "order similar": {"order": "similar"},
}
"""Rows that every seed has; each changes the method in what is named."""
BALANCES: dict[str, Changes] = {
    "uncertainty": {"balance": "uncertainty"},
    "pcgrad": {"balance": "pcgrad"},
    "example": {"preset": "example"},
    "initialised": {**ALONE, "init_from": "predecessor"},
}
"""Rows that are run next."""
SENSITIVITY: dict[str, Changes] = {
    "fine-tuned": {**ALONE, "init_from": "predecessor_always"},
    "post hoc": {"alpha_schedule": "posthoc"},
    "order random": {"order": "random"},
    "order dissimilar": {"order": "dissimilar"},
    "normalised by first loss": {"normalise": "initial"},
    "normalised by running mean": {"normalise": "ema"},
    "not normalised": {"normalise": "none"},
    "normalised gradients": {"normalise": "gradnorm"},
    "lambda 0.03": {"transfer_weight": 0.03},
    "lambda 0.3": {"transfer_weight": 0.3},
    "lambda 1": {"transfer_weight": 1.0},
    "threshold null": {"threshold": "null"},
    "published constants": {"threshold": "absolute", "threshold_value": 5.0, "views": 20,
                            "kernel_scale": 0.1},
    "2 anchors": {"anchors": 2},
    "10 anchors": {"anchors": 10},
    "4 views": {"views": 4},
    "16 views": {"views": 16},
    "last step unrolled": {"paths": "last"},
}  # fmt: skip
"""Rows of fewer seeds, run after all others."""


@dataclass(frozen=True)
class Group:
    """Tasks that are learnt together, and the rows that are run beside the baselines."""

    relatives: tuple[str, ...]
    outlier: str
    channels: int
    side: int
    limit: int
    classes: int | None
    tables: tuple[dict[str, Changes], ...]

    def load(self) -> list[DataTask]:
        """Return the tasks, the outlier last."""
        names = (*self.relatives, self.outlier)
        return load(names, self.side, self.channels, self.limit, self.classes)


SETS = {
    "interleaved": Group(
        ("usps", "mnist", "notmnist", "fashion-mnist"), "dtd10", 1, 12, 40, None,
        (ABLATIONS, BALANCES, SENSITIVITY),
    ),
    "interleaved-colour": Group(
        ("cifar10", "cifar100", "mini-imagenet", "dtd10"), "gtsrb", 3, 16, 40, 10,
        ({name: ABLATIONS[name] for name in ("none, M=1", "none", "soft")},),
    ),
}  # fmt: skip
"""By the name of their results."""


def load(
    names: tuple[str, ...],
    side: int,
    channels: int | None,
    limit: int,
    classes: int | None = None,
) -> list[DataTask]:
    """Return tasks with `limit` images a class of the first `classes` (None: all)."""
    found = [cast(DataTask, tasks.get(name, limit=limit)) for name in names]
    if classes is not None:
        found = [
            replace(of_classes(task, range(classes)), name=name)
            for name, task in zip(names, found, strict=True)
        ]
    return [resized(task, side, channels) for task in found]


class Final:
    """Phase 2 of one seed: an architecture that several methods found is trained once a task."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.known: dict[tuple[str, str, str], dict[str, float]] = {}

    def train(self, task: DataTask, arch: Architecture, skeleton: Mapping[str, Any]) -> Any:
        p = self.problem
        key = task.name, p.space.to_text(arch), json.dumps(dict(skeleton), sort_keys=True)
        if key not in self.known:
            trained = train_separately(task, p.space, arch, skeleton, RECIPE, EPOCHS, p.seed, "cpu")
            self.known[key] = tested(task, trained)
        return self.known[key]


def tested(task: DataTask, trained: Trained) -> dict[str, float]:
    """Return the metrics of phase 2 with the test accuracy, a recorded look."""
    at = workplace("cpu", "32-true")
    final = task.final_test(
        trained.task,
        lambda split: {"test_accuracy": measure(trained.network, split, at)["accuracy"]},
    )
    return {**trained.metrics, **final.metrics, "seconds": trained.seconds}


def row(problem: Problem, find: Callable[[], Found], final: Final) -> dict[str, Any]:
    """Return what a method found, what that took, and what its networks reach."""
    before = time.process_time()
    found = find()
    used = time.process_time() - before
    skeleton = found.skeleton or problem.final_skeleton
    pairs = zip(problem.tasks, found.architectures, strict=True)
    measured = {task.name: final.train(task, arch, skeleton) for task, arch in pairs}
    search = found.searches[0] if len(found.searches) == 1 else None
    newest = search.history.points[-1] if search is not None else {}
    return {
        "architectures": [problem.space.to_text(a) for a in found.architectures],
        "tasks": measured,
        "search_cpu_seconds": used,
        "transfer_seconds": found.cost.transfer_seconds,
        "search_seconds": found.cost.seconds,
        "iterations": None if search is None else search.iterations,
        "images": found.cost.images,
        "matched_images": found.cost.matched_images,
        "newest_point": newest,
    }


def evidence(seeds: int, minutes: float, name: str = "interleaved") -> None:
    """Run what is missing until `minutes` are over: all rows of all seeds, then the others."""
    group = SETS[name]
    everything = group.load()
    path, until = RESULTS / f"{name}.json", time.perf_counter() + 60 * minutes
    runs: dict[str, Any] = json.loads(path.read_text())["runs"] if path.exists() else {}
    torch.set_num_threads(1)

    def keep(seed: int, row_name: str, make: Callable[[], dict[str, Any]]) -> None:
        done = runs.setdefault(str(seed), {})
        if row_name not in done and time.perf_counter() < until:
            done[row_name] = make()
            print(seed, row_name, f"{time.process_time():.0f} s", flush=True)
            write_result(name, {"settings": settings(group), "runs": runs})

    space, problems = spaces.get("nasbench201"), dict[int, tuple[Problem, Final]]()
    for seed in range(seeds):
        problem = Problem(everything, space, BASE, SUPERNET, FINAL, seed, "cpu")
        problems[seed] = problem, Final(problem)
        baselines(problem, partial(keep, seed), runs.setdefault(str(seed), {}), problems[seed][1])
    for seed, (problem, _) in problems.items():
        if "random" in runs[str(seed)]:
            drawn = space.from_text(runs[str(seed)]["random"]["architectures"][0])
            keep(seed, "random, phase 2 interleaved", partial(at_fixed, problem, drawn))
    for table in group.tables:
        for row_name, changes in table.items():
            for seed, (problem, final) in problems.items():
                find = partial(interleaved, problem, **changes)
                keep(seed, row_name, partial(row, problem, find, final))


Keep = Callable[[str, Callable[[], Any]], None]


def baselines(problem: Problem, keep: Keep, done: Mapping[str, Any], final: Final) -> None:
    """Run the method and what it is compared with on one seed."""
    space = problem.space
    keep(MAIN, partial(row, problem, partial(interleaved, problem), final))
    if MAIN not in done:
        return
    arch = space.from_text(done[MAIN]["architectures"][0])
    for name, method in BASELINES.items():
        keep(name, partial(row, problem, partial(method, problem, arch), final))
    fewer = replace(problem, tasks=problem.tasks[:-1])
    keep("without outlier", partial(row, fewer, partial(interleaved, fewer), final))
    keep("phase 2 interleaved", partial(at_fixed, problem, arch))


def at_fixed(problem: Problem, arch: Architecture) -> dict[str, Any]:
    """Return the row of networks that are trained in turn, with transfer, at one architecture."""
    found = train_interleaved(
        problem.tasks, problem.space, arch, problem.final_skeleton, RECIPE, EPOCHS, problem.seed,
        replace(BASE, preset="joint"), "cpu",
    )  # fmt: skip
    pairs = zip(problem.tasks, found, strict=True)
    return {
        "architectures": [problem.space.to_text(arch)] * len(problem.tasks),
        "tasks": {task.name: tested(task, trained) for task, trained in pairs},
        "search_cpu_seconds": 0.0,
    }


def settings(group: Group) -> dict[str, Any]:
    return {"tasks": [*group.relatives, group.outlier], "side": group.side, "limit": group.limit,
            "epochs": EPOCHS, "supernet": SUPERNET, "final": FINAL,
            "iterations": BASE.iterations}  # fmt: skip


def cells(seeds: int) -> None:
    """Search on CIFAR-10, CIFAR-100 and mini-ImageNet at 16x16; look the cells up."""
    three = load(("cifar10", "cifar100", "mini-imagenet"), 16, 3, 20)
    columns = ("cifar10", "cifar100", "imagenet16-120")
    path = RESULTS / "interleaved-cells.json"
    runs: dict[str, Any] = json.loads(path.read_text())["runs"] if path.exists() else {}
    space = spaces.get("nasbench201")
    tables = {c: evaluation.Table(cast(Any, tasks.get(f"nasbench201/{c}"))) for c in columns}
    torch.set_num_threads(1)

    def look_up(arch: Architecture) -> dict[str, float]:
        return {
            c: float(t.evaluate(arch).metrics["validation_accuracy"]) for c, t in tables.items()
        }

    for seed in range(seeds):
        if str(seed) in runs:
            continue
        chosen = replace(BASE, batch_size=16, iterations=16)
        problem = Problem(three, space, chosen, SUPERNET, FINAL, seed, "cpu")
        together = interleaved(problem)
        cell = together.architectures[0]
        compared = {
            "interleaved": together,
            "none, M=1": interleaved(problem, **ALONE, rounds=1, iterations=24),
            "separate": BASELINES["separate"](problem, cell),
            "random": BASELINES["random"](problem, cell),
            "by hand": BASELINES["by hand"](problem, cell),
        }
        runs[str(seed)] = {
            name: [{"cell": space.to_text(a), **look_up(a)} for a in found.architectures]
            for name, found in compared.items()
        }
        print(seed, runs[str(seed)]["interleaved"][0], flush=True)
        write_result("interleaved-cells", {"columns": columns, "runs": runs})


def similarity(seeds: int) -> None:
    """Measure how far each task is from its predecessor, by features of random encoders."""
    everything = SETS[MAIN].load()
    torch.set_num_threads(1)
    found = {}
    for seed in range(seeds):
        search = Interleaving(
            everything, spaces.get("nasbench201"), BASE, skeleton=SUPERNET, seed=seed, device="cpu"
        )
        first = search.learners[0]
        found[str(seed)] = task_distances(everything, first.encoder, first.task, seed).tolist()
    names = [task.name for task in everything]
    write_result("interleaved-similarity", {"tasks": names, "mmd2": found})


MIXED = ("gtsrb:limit=6", "bccd:size=96,limit=60", "camvid:size=96,limit=60")


def mixed(folder: Path) -> None:
    """Search one architecture for a classification, a detection and a segmentation."""
    torch.set_num_threads(1)
    started, before = time.perf_counter(), time.process_time()
    options: dict[str, Any] = {"iterations": 12, "epochs": 4, "seed": 0}
    chosen = {"batch_size": 8, "anchors": 4, "match_every": 4, "logits_learning_rate": 0.05}
    record = studies.interleave(MIXED, out=folder, settings=chosen, device="cpu", **options)
    words = [f"--{k} {v}" for k, v in options.items()] + [
        f"--set {k}={v}" for k, v in chosen.items()
    ]
    main, curves = record["methods"]["interleaved"], record["curves"]
    found = {
        name: {
            "metric": headline(cell["metrics"]),
            "metrics": cell["metrics"],
            "parameters": cell["metrics"]["parameters"],
            "first": curves[0]["tasks"][name]["validation"],
            "last": curves[-1]["tasks"][name]["validation"],
        }
        for name, cell in main["tasks"].items()
    }
    result = {
        "command": f"transnas interleave --tasks {' '.join(MIXED)} {' '.join(words)}",
        "seconds": time.perf_counter() - started,
        "cpu_seconds": time.process_time() - before,
        "architecture": next(iter(main["architectures"].values())),
        "tasks": found,
        "cost": main["cost"],
    }
    write_result("interleaved-mixed", result)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("evidence", "colour", "cells", "mixed", "similarity"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=11.0, help="of evidence, then stop")
    parser.add_argument("--out", type=Path, default=Path("interleaved-mixed"))
    given = parser.parse_args()
    if given.what == "evidence":
        evidence(given.seeds, given.minutes)
    elif given.what == "colour":
        evidence(given.seeds, given.minutes, "interleaved-colour")
    elif given.what == "cells":
        cells(given.seeds)
    elif given.what == "mixed":
        mixed(given.out)
    else:
        similarity(given.seeds)
