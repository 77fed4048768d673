"""A family of data sets: a query trains the network on the task of its turn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from transnas.evaluation import Objective
from transnas.evaluation.training import Training
from transnas.meta.catch.coding import Codes
from transnas.meta.catch.families import Evaluate, Floats, TaskFamily, turn
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, own_data

__all__ = ["TrainedFamily"]


class TrainedFamily(TaskFamily):
    """Tasks with data of their own, in random order, none again before all came up.

    A query trains the network for `epochs` (None: the trainer's default) on the training images
    and returns the task's metric on the validation images; no test split is touched.
    """

    def __init__(
        self,
        tasks: Sequence[DataTask],
        space: Space,
        epochs: int | None = None,
        device: str = "auto",
    ) -> None:
        self.space = space
        self.epochs = epochs
        self.names = tuple(task.name for task in tasks)
        self._data = own_data(tasks)
        self._trainings = [Training(task, space, device=device) for task in tasks]
        self._objectives = [Objective(task.metric) for task in tasks]

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        chosen = [turn(seed, epoch, len(self.names)) for seed in seeds]

        def rewards(codes: Codes) -> Floats:
            return np.array(
                [
                    self._reward(k, seed, row)
                    for k, seed, row in zip(chosen, seeds, codes.tolist(), strict=True)
                ]
            )

        return rewards

    def _reward(self, task: int, seed: int, codes: Sequence[int]) -> float:
        arch = Architecture(self.space.name, tuple(codes))
        measurement = self._trainings[task].evaluate(arch, self.epochs, seed)
        return self._objectives[task].reward(measurement)

    def describe(self) -> dict[str, Any]:
        names = list(self.names)
        return {"kind": "trained", "tasks": names, "budget": self.epochs, **self._data}
