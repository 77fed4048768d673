"""The last step of a search: train the winner longer, and look at the test split once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.utils.data import Dataset

from transnas import networks
from transnas._checkpoints import Checkpoint
from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.evaluation._kinds import kind_of
from transnas.evaluation._resolve import resolve_skeleton
from transnas.evaluation.training import (
    Progress,
    Recipe,
    Stopped,
    Training,
    deterministic,
    fit,
    measure,
    workplace,
)
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, FinalTest, Task

__all__ = ["compare_finalists", "final_recipe", "train_final"]


def final_recipe(kind: str) -> Recipe:
    """Return the recipe of a kind of task, without averages: they start by validation data."""
    return replace(kind_of(kind).recipe, average_after=0)


def compare_finalists(
    task: Task,
    space: Space,
    archs: Sequence[Architecture],
    epochs: int = 60,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: str = "auto",
    skeleton: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> list[tuple[Architecture, Measurement]]:
    """Train each of `archs` alike on the training split, and return them, the best first.

    What counts is the task's metric on the validation split; the test split is not looked at. A
    search measures after a few epochs, where networks of nearly equal worth change places, so its
    best few are told apart by a training as long as the final one. Failed trainings come last.
    With `checkpoint`, a file, those that are measured there are not trained again. Raises
    `InputError` as `train_final` does, before any training, and `Stopped` if all fail.
    """
    task = _testable(task)
    recipe = recipe or final_recipe(task.kind)
    if recipe.average_after:
        raise InputError(
            f"recipe field 'average_after' is {recipe.average_after}; accepted for finalists, "
            "which train as the final training does: 0"
        )
    training = Training(task, space, recipe, device, skeleton, progress=progress)
    check_whole("epochs", epochs, 1)
    for arch in archs:
        space.validate(arch)
    identity = _identity(task, space, archs, epochs, seed, recipe, skeleton or {})
    kept = None if checkpoint is None else Checkpoint(checkpoint, identity)
    measured = [Measurement.from_dict(m) for m in (kept and kept.load()) or ()]
    for arch in archs[len(measured) :]:
        measured.append(training.evaluate(arch, epochs, seed))
        if kept is not None:
            kept.save([m.to_dict() for m in measured])
    objective = Objective(task.metric)
    found = list(zip(archs, measured, strict=True))
    found.sort(key=lambda pair: -np.nan_to_num(objective.reward(pair[1]), nan=-np.inf))
    if found and found[0][1].status == "failed":
        raise Stopped(f"all finalists failed; the first: {found[0][1].error}", [])
    return found


def train_final(
    task: Task,
    space: Space,
    arch: Architecture,
    epochs: int = 60,
    seed: int = 0,
    recipe: Recipe | None = None,
    device: str = "auto",
    skeleton: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> tuple[nn.Module, FinalTest]:
    """Train `arch` on training and validation data, then do the recorded final test.

    Returns the network (on the CPU, in evaluation mode) and the test's metrics, `test_accuracy`
    (0..1) and `test_loss` or those of the task's kind; the look is also kept in
    `task.final_tests`. With `checkpoint`, a file, it goes on where an earlier call was stopped, to
    the same end; the file stays, for the caller to remove. `recipe` is by default `final_recipe` of
    the task's kind. Raises `InputError` for a task without data or test split, a recipe of no use,
    or a checkpoint of another training, before any training, and `Stopped` if the loss is not
    finite.
    """
    task = _testable(task)
    check_whole("epochs", epochs, 1)
    space.validate(arch)
    kind_of(task.kind).require()
    recipe = recipe or final_recipe(task.kind)
    chosen = resolve_skeleton(space, task.signature, skeleton)
    identity = _identity(task, space, [arch], epochs, seed, recipe, chosen)
    at = workplace(device, recipe.precision)
    with deterministic(seed, at.device):
        network = networks.build(space, arch, task.signature, **chosen)
        fit(
            network,
            task.joined(),
            None,
            recipe,
            epochs=epochs,
            seed=seed,
            augmentation=task.augmentation,
            kind=task.kind,
            at=at,
            progress=progress,
            checkpoint=None if checkpoint is None else Checkpoint(checkpoint, identity),
        )

    def test(split: Dataset[Any]) -> dict[str, float]:
        metrics = measure(network, split, at, task.kind)
        return {f"test_{name}": value for name, value in metrics.items()}

    final = task.final_test(space.to_text(arch), test)
    return network.cpu().eval(), final


def _testable(task: Task) -> DataTask:
    """Return `task`; raises `InputError` if it has no data or no test split."""
    if not isinstance(task, DataTask):
        raise InputError(f"task {task.name!r} has no data to train on; accepted: one with data")
    if not task.has_test:
        raise InputError(f"task {task.name!r} has no test split; accepted: a task with one")
    return task


def _identity(
    task: DataTask,
    space: Space,
    archs: Sequence[Architecture],
    epochs: int,
    seed: int,
    recipe: Recipe,
    skeleton: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what a checkpoint must share with the training that goes on from it."""
    return {
        "task": task.name,
        "data": task.digest,
        "space": space.name,
        "architectures": [space.to_text(arch) for arch in archs],
        "epochs": epochs,
        "seed": seed,
        "recipe": asdict(recipe),
        "skeleton": dict(skeleton),
    }
