"""The last step of a search: train the winner longer, and look at the test split once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn
from torch.utils.data import Dataset

from transnas import networks
from transnas._errors import InputError
from transnas.evaluation._kinds import kind_of
from transnas.evaluation._resolve import resolve_skeleton, whole
from transnas.evaluation.training import Progress, Recipe, deterministic, fit, measure, workplace
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, FinalTest, Task

__all__ = ["final_recipe", "train_final"]


def final_recipe(kind: str) -> Recipe:
    """Return the recipe of a kind of task, without averages: they start by validation data."""
    return replace(kind_of(kind).recipe, average_after=0)


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
) -> tuple[nn.Module, FinalTest]:
    """Train `arch` on training and validation data, then do the recorded final test.

    Returns the network (on the CPU, in evaluation mode) and the test's metrics, `test_accuracy`
    (0..1) and `test_loss` or those of the task's kind; the look is also kept in
    `task.final_tests`. `recipe` is by default `final_recipe` of the task's kind. Raises
    `InputError` for a task without data or test split, or a recipe of no use, before any training,
    and `Stopped` if the loss is not finite.
    """
    if not isinstance(task, DataTask):
        raise InputError(f"task {task.name!r} has no data to train on; accepted: one with data")
    if not task.has_test:
        raise InputError(f"task {task.name!r} has no test split; accepted: a task with one")
    whole("epochs", epochs, 1)
    space.validate(arch)
    kind_of(task.kind).require()
    recipe = recipe or final_recipe(task.kind)
    chosen = resolve_skeleton(space, task.signature, skeleton)
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
        )

    def test(split: Dataset[Any]) -> dict[str, float]:
        metrics = measure(network, split, at, task.kind)
        return {f"test_{name}": value for name, value in metrics.items()}

    final = task.final_test(space.to_text(arch), test)
    return network.cpu().eval(), final
