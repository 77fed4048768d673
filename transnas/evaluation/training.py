"""`Training`: an architecture is measured by training it on the task's data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from transnas import networks
from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.evaluation._base import Cost, Evaluator, Measurement
from transnas.evaluation._counting import flops, parameters
from transnas.evaluation._fit import (
    Batches,
    Curve,
    Progress,
    Stopped,
    Workplace,
    check_device,
    deterministic,
    fit,
    measure,
    workplace,
)
from transnas.evaluation._kinds import kind_of
from transnas.evaluation._resolve import resolve_skeleton
from transnas.evaluation.recipe import Recipe
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, Task

__all__ = [
    "Batches",
    "Curve",
    "Progress",
    "Recipe",
    "Stopped",
    "Training",
    "Workplace",
    "deterministic",
    "fit",
    "measure",
    "workplace",
]


class Training(Evaluator):
    """Trains each architecture on `task.train` and measures it on `task.validation`.

    The budget is a number of epochs, over which the learning rate falls to zero, so that a short
    training is a whole one; `recipe` is by default that of the task's kind. Metrics after the last
    epoch: `validation_accuracy` (0..1; `validation_map`, `validation_miou` for other kinds) and
    `validation_loss`, `train_loss`, `parameters`, `flops` (multiply-adds of one image).
    A loss that is not finite, more than `deadline` seconds, or a device out of memory fail the
    measurement with the reason; the learning curve until then is kept. The same architecture,
    budget and seed give the same measurement on one machine with the same number of threads.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        recipe: Recipe | None = None,
        device: str = "auto",
        skeleton: Mapping[str, Any] | None = None,
        deadline: float | None = None,
        progress: Progress | None = None,
    ) -> None:
        if not isinstance(task, DataTask):
            raise InputError(f"task {task.name!r} has no data to train on; accepted: one with data")
        if not len(task.validation):  # type: ignore[arg-type]
            raise InputError(
                f"task {task.name!r} has no validation data to measure on; accepted: one with "
                "some (held_out above 0)"
            )
        if deadline is not None and not deadline > 0:
            raise InputError(f"deadline {deadline} is not accepted; accepted: seconds above 0")
        check_device(device)
        kind = kind_of(task.kind)
        kind.require()
        self.task = task
        self.space = space
        self.recipe = recipe or kind.recipe
        self.device = device
        self.skeleton = resolve_skeleton(space, task.signature, skeleton)
        self.deadline = deadline
        self.progress = progress

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        measured = (f"validation_{name}" for name in kind_of(self.task.kind).metrics)
        return frozenset({*measured, "train_loss", "parameters", "flops"})

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Train `arch` for `budget` epochs; see `Evaluator.evaluate`."""
        epochs = check_whole("epochs", self.recipe.epochs if budget is None else budget, 1)
        self.space.validate(arch)
        at = workplace(self.device, self.recipe.precision)
        started = time.perf_counter()
        with deterministic(seed, at.device):
            network, beginning = self._network(arch, seed)
            size = {
                **beginning,
                "parameters": float(parameters(network)),
                "flops": float(flops(network, self.task.signature)),
            }
            try:
                curve = fit(
                    network,
                    self.task.train,
                    self.task.validation,
                    self.recipe,
                    epochs=epochs,
                    seed=seed,
                    augmentation=self.task.augmentation,
                    kind=self.task.kind,
                    at=at,
                    deadline=self.deadline,
                    progress=self.progress,
                )
            except Stopped as stopped:
                cost = Cost(time.perf_counter() - started, len(stopped.curve), at.label)
                return Measurement(size, cost, "failed", str(stopped), tuple(stopped.curve))
            except torch.OutOfMemoryError as error:
                cost = Cost(time.perf_counter() - started, 0, at.label)
                reason = f"out of memory ({str(error).splitlines()[0]})"
                return Measurement(size, cost, "failed", reason)
        self._trained(arch, network)
        cost = Cost(time.perf_counter() - started, epochs, at.label)
        return Measurement({**curve[-1], **size}, cost, curve=tuple(curve))

    def _network(self, arch: Architecture, seed: int) -> tuple[nn.Module, dict[str, float]]:
        """Return the network that training begins with, and what there is to say of that."""
        return networks.build(self.space, arch, self.task.signature, **self.skeleton), {}

    def _trained(self, arch: Architecture, network: nn.Module) -> None:
        """Keep what is of use of a network at the end of its training; here nothing."""
