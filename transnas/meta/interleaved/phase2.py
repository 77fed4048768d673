"""Phase 2: the discrete networks of a found architecture, trained from new weights.

`separate` trains each task's network by itself, its encoder on the end task too. `interleaved`
visits the tasks in turn, with the transfer term, at the fixed architecture: the control that tells
transfer of weights from architecture search.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from transnas import networks
from transnas.evaluation._counting import flops, parameters
from transnas.evaluation._kinds import kind_of
from transnas.evaluation.training import Recipe, deterministic, fit, measure, workplace
from transnas.meta.interleaved.algorithm import Interleaving
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.meta.interleaved.setup import own_skeleton
from transnas.meta.interleaved.streams import stream_seed
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask

__all__ = ["Trained", "at_fixed", "finished", "train_interleaved", "train_separately"]


@dataclass(frozen=True)
class Trained:
    """One task's network after phase 2."""

    task: str
    network: nn.Module
    """On the CPU, in evaluation mode."""
    metrics: Mapping[str, float]
    """`validation_*` after training, `parameters`, `flops` (multiply-adds of one image)."""
    seconds: float
    images: int
    curve: tuple[Mapping[str, float], ...] = ()


def train_separately(
    task: DataTask,
    space: Space,
    arch: Architecture,
    skeleton: Mapping[str, Any],
    recipe: Recipe | None,
    epochs: int,
    seed: int,
    device: str = "auto",
    progress: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Trained:
    """Train the network of `arch` on one task; raises `Stopped` if the loss is not finite.

    `recipe`: None for that of the task's kind. The stem suits the task (`setup.own_skeleton`).
    What is drawn depends on `seed` and the task's name.
    """
    started = time.perf_counter()
    recipe = kind_of(task.kind).recipe if recipe is None else recipe
    skeleton = own_skeleton(space, skeleton, task.signature)
    at, own = workplace(device, recipe.precision), stream_seed(seed, task.name, "phase 2")
    with deterministic(own, at.device):
        network = networks.build(space, arch, task.signature, **skeleton)
        size = _size(network, task)
        curve = fit(
            network,
            task.train,
            task.validation,
            recipe,
            epochs=epochs,
            seed=own,
            augmentation=task.augmentation,
            kind=task.kind,
            at=at,
            progress=progress,
        )
    images = epochs * len(task.train)  # type: ignore[arg-type]
    seconds = time.perf_counter() - started
    metrics = {**curve[-1], **size}
    return Trained(task.name, network.cpu().eval(), metrics, seconds, images, tuple(curve))


def train_interleaved(
    tasks: Sequence[DataTask],
    space: Space,
    arch: Architecture,
    skeleton: Mapping[str, Any],
    recipe: Recipe,
    epochs: int,
    seed: int,
    settings: InterleaveSettings,
    device: str = "auto",
) -> list[Trained]:
    """Train the networks of `arch` on all tasks in turn, with the transfer term of `settings`."""
    chosen = at_fixed(settings, recipe, epochs)
    search = Interleaving(
        tasks, space, chosen, skeleton=skeleton, architecture=arch, seed=seed, device=device
    )
    search.run()
    return finished(search)


def at_fixed(settings: InterleaveSettings, recipe: Recipe, epochs: int) -> InterleaveSettings:
    """Return the settings that train the networks of one architecture.

    Learning rate, momentum, decay and batches are those of `recipe`, without its warm-up and
    smoothing; one round an iteration, so that the largest task gets `epochs` epochs.
    """
    return replace(
        settings,
        rounds=1,
        steps=1,
        carry=True,
        epochs=epochs,
        iterations=None,
        paths="direct",
        hyper="off",
        architecture="shared",
        alpha_schedule="interleaved",
        batch_size=recipe.batch_size,
        learning_rate=recipe.learning_rate,
        least_learning_rate=0.0,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
        gradient_clip=recipe.gradient_clip,
    )


def finished(search: Interleaving) -> list[Trained]:
    """Return the networks of a search at a fixed architecture that is done."""
    tasks = search.tasks
    at, found = workplace(str(search.device), "32-true"), []
    for learner in search.learners:
        network = learner.whole().to(search.device)
        held = measure(network, learner.task.validation, at, learner.task.kind)
        size = _size(network, learner.task)
        seconds = search.cost.task_seconds[learner.task.name]
        images = search.cost.images // len(tasks)
        found.append(
            Trained(
                learner.task.name,
                network.cpu().eval(),
                {**{f"validation_{name}": value for name, value in held.items()}, **size},
                seconds,
                images,
            )
        )
    return found


def _size(network: nn.Module, task: DataTask) -> dict[str, float]:
    return {
        "parameters": float(parameters(network)),
        "flops": float(flops(network, task.signature)),
    }
