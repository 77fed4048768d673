"""The paper's task family: N of the classes of a data set, really trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.evaluation.training import Recipe, Training
from transnas.meta.catch.coding import Codes
from transnas.meta.catch.families import Evaluate, Floats, TaskFamily
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask
from transnas.tasks._subset import of_classes
from transnas.tasks._tensors import TensorSplit

__all__ = ["SubsetFamily"]


class SubsetFamily(TaskFamily):
    """Tasks of `n_classes` classes of `base`, their number and choice drawn by seed and epoch.

    A query trains the network for `recipe.epochs` on the base's training images of these classes
    and returns its accuracy on the validation images; the base's test split is not touched.
    `base` must hold its data in memory. Raises `InputError` otherwise, and for more classes than
    there are or fewer than two.
    """

    def __init__(
        self,
        base: DataTask,
        space: Space,
        n_classes: Sequence[int] = (10, 20, 30),
        recipe: Recipe | None = None,
        device: str = "auto",
        skeleton: Mapping[str, Any] | None = None,
    ) -> None:
        classes = base.signature.outputs
        if not n_classes or min(n_classes) < 2 or max(n_classes) > classes:
            raise InputError(
                f"n_classes are {list(n_classes)}; accepted: numbers from 2..{classes}"
            )
        if not (isinstance(base.train, TensorSplit) and isinstance(base.validation, TensorSplit)):
            raise InputError(f"task {base.name!r} is not in memory; accepted: a task that is")
        self.base = base
        self.space = space
        self.n_classes = tuple(n_classes)
        self.recipe = recipe or Recipe()
        self.device = device
        self.skeleton = skeleton

    def task(self, seed: int, epoch: int) -> DataTask:
        """Return the task of one replicate and epoch; the same call gives the same task."""
        rng = np.random.default_rng([seed, epoch])
        count = int(rng.choice(self.n_classes))
        chosen = np.sort(rng.choice(self.base.signature.outputs, size=count, replace=False))
        return replace(of_classes(self.base, chosen.tolist()), _test=None)

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        trainings = [
            Training(self.task(s, epoch), self.space, self.recipe, self.device, self.skeleton)
            for s in seeds
        ]
        objective = Objective()

        def rewards(codes: Codes) -> Floats:
            found = []
            for training, seed, row in zip(trainings, seeds, codes.tolist(), strict=True):
                arch = Architecture(self.space.name, tuple(row))
                found.append(objective.reward(training.evaluate(arch, seed=seed)))
            return np.array(found)

        return rewards

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "subsets",
            "base": self.base.name,
            "n_classes": list(self.n_classes),
            "budget": self.recipe.epochs,
        }
