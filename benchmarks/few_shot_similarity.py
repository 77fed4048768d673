"""Do similar tasks get similar architectures, and what do the architectures look like?

    python benchmarks/few_shot_similarity.py [omniglot-5-1 mini-imagenet-5-1] [--seed 0]

Needs the meta-trainings of few_shot_tables.py, and makes them if they are missing. Sets of test
classes are drawn; each set gives several episodes, with other images and in another order. All
adapt; the architectures of two episodes of one set are compared with those of two episodes of sets
without a common class, by the number of choices in which they differ. Episodes whose support has
the same images in another order are compared too: what is left then is the order of the classes.
Adds benchmarks/results/few-shot-similarity.json, and one drawing a cell to docs/results/pictures.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import RESULTS, write_result
from few_shot_tables import SCALES, Cell
from torch import Tensor

from transnas.meta.few_shot import Learner, decode
from transnas.meta.few_shot.decoding import SPACE
from transnas.networks.few_shot import LOGITS, FewShotSupernet
from transnas.spaces import Architecture
from transnas.studies.report import standalone_drawing

NAME = "few-shot-similarity"
PICTURES = Path(__file__).parent.parent / "docs" / "results" / "pictures"
SETS, EPISODES = 12, 4
"""Sets of classes, and episodes of each."""


def distance(a: Architecture, b: Architecture) -> int:
    """Return the number of choices in which two architectures differ."""
    return sum(x != y for x, y in zip(a.values, b.values, strict=True))


def mean_distance(first: list[Architecture], second: list[Architecture]) -> float:
    """Return the mean distance between the architectures of two sets."""
    return float(np.mean([distance(a, b) for a in first for b in second]))


def adapted(learner: Learner, meta: dict[str, Tensor], xs: Tensor, ys: Tensor) -> Tensor:
    return learner.adapt(meta, xs, ys)[LOGITS]


def same_images(
    learner: Learner, meta: dict[str, Tensor], xs: Tensor, ys: Tensor
) -> list[Architecture]:
    """Return the architectures of one support whose classes are numbered in another order."""
    generator = torch.Generator().manual_seed(0)
    way = int(ys.max()) + 1
    orders = [torch.randperm(way, generator=generator) for _ in range(EPISODES)]
    labels = torch.stack([order[ys] for order in orders])
    return decode(adapted(learner, meta, xs[None].repeat(EPISODES, 1, 1, 1, 1), labels))


def compare(cell: Cell) -> dict[str, Any]:
    """Return mean distances within a set, between sets, and of the same images."""
    network = FewShotSupernet(cell.signature, cell.scale.channels)
    learner = cell.learner("t-nas", network)
    meta = cell.train(learner, cell.scale.search_steps, "t-nas").best
    rng = np.random.default_rng(cell.seed)
    members = rng.permutation(cell.source.splits["test"])
    sets = [sorted(rng.choice(members, cell.spec.way, replace=False).tolist()) for _ in range(SETS)]
    found, logits, again = [], [], []
    for classes in sets:
        own = replace(cell.source, splits={"test": tuple(classes)})
        own.__dict__["moments"] = cell.source.moments
        batch = own.batch("test", cell.spec, 0, EPISODES)
        logits.append(adapted(learner, meta, batch.xs, batch.ys))
        found.append(decode(logits[-1]))
        again.append(same_images(learner, meta, batch.xs[0], batch.ys[0]))
    apart = [(i, j) for i, j in combinations(range(SETS), 2) if not set(sets[i]) & set(sets[j])]
    within = [np.mean([distance(a, b) for a, b in combinations(one, 2)]) for one in found]
    order = [np.mean([distance(a, b) for a, b in combinations(one, 2)]) for one in again]
    between = [
        np.mean([mean_distance(found[i], found[j]) for i, j in apart if s in (i, j)])
        for s in range(SETS)
    ]
    uniform = [SPACE.sample(rng) for _ in range(40)]
    picture(cell, [decode(meta[LOGITS][None])[0], found[0][0], found[0][1], found[1][0]])
    return {
        "choices": len(SPACE.choices),
        "within": [float(x) for x in within],
        "between": [float(x) for x in between],
        "same images": [float(x) for x in order],
        "uniform": float(np.mean([distance(a, b) for a, b in combinations(uniform, 2)])),
        "moved": float((torch.cat(logits) - meta[LOGITS]).abs().max()),
    }


def picture(cell: Cell, archs: list[Architecture]) -> None:
    """Draw the meta-learnt cell and those of three tasks, the first two of the same classes."""
    for label, arch in zip(("meta", "task-1", "task-1-again", "task-2"), archs, strict=True):
        path = PICTURES / f"few-shot-{cell.name}-{label}.svg"
        path.write_text(standalone_drawing(SPACE, arch) + "\n")


def main() -> None:
    """Compare the cells that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cells", nargs="*", default=["omniglot-5-1", "mini-imagenet-5-1"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", choices=sorted(SCALES), default="cpu")
    given = parser.parse_args()
    path = RESULTS / f"{NAME}.json"
    kept: dict[str, Any] = json.loads(path.read_text())["cells"] if path.exists() else {}
    for name in given.cells:
        cell = Cell(name, given.seed, given.scale, "cpu")
        kept[cell.name] = compare(cell)
        print(cell.name, kept[cell.name], flush=True)
        write_result(NAME, {"cells": kept})


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    sys.path.insert(0, str(Path(__file__).parent))
    main()
