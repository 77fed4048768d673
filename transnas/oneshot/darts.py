"""DARTS, first order: every edge a softmax mixture of all operations.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019. The published search halves the
training data; here weights see the task's training split and logits its validation split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transnas import networks
from transnas.evaluation.training import Progress, deterministic, workplace
from transnas.networks.relaxations import Softmax
from transnas.oneshot._bilevel import Settings, check_task, train
from transnas.spaces import Architecture, Space
from transnas.tasks import Task

__all__ = ["search_darts"]


def search_darts(
    task: Task,
    space: Space,
    settings: Settings = Settings(),  # noqa: B008 - immutable
    *,
    skeleton: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Architecture:
    """Return the architecture that first-order DARTS derives from its supernet.

    `skeleton` are the supernet's settings (published: 16 channels and 8 layers in the DARTS
    space); None: those that suit stand-alone networks on inputs of this size. Raises `InputError`
    for a task without data or a space without supernet.
    """
    task = check_task(task)
    chosen = networks.suggest(space, task.signature) if skeleton is None else skeleton
    with deterministic(seed, workplace(device).device):
        net = networks.supernet(space, task.signature, Softmax(), **chosen)
        train(net, task, settings, seed=seed, device=device, progress=progress)
    return net.derive()
