"""GDAS: one sampled operation an edge, its probability learnt through a straight-through gradient.

Dong & Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019; defaults as
on NAS-Bench-201 (ICLR 2020). Logits and weights each draw a sample of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from transnas import networks
from transnas.evaluation.training import Progress, deterministic, workplace
from transnas.networks.relaxations import StraightThrough
from transnas.oneshot._bilevel import Settings, check_task, train
from transnas.spaces import Architecture, Space
from transnas.tasks import Task

__all__ = ["PUBLISHED", "search_gdas"]

PUBLISHED = Settings(epochs=250, nesterov=True, weight_decay=5e-4)
_FIRST, _LAST = 10.0, 0.1
"""Temperatures of the first and the last epoch; it falls linearly."""


def search_gdas(
    task: Task,
    space: Space,
    settings: Settings = PUBLISHED,
    *,
    skeleton: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> Architecture:
    """Return the architecture that GDAS derives from its supernet; see `search_darts`."""
    task = check_task(task)
    chosen = networks.suggest(space, task.signature) if skeleton is None else skeleton
    place = workplace(device).device
    relaxation = StraightThrough(_FIRST, torch.Generator(place).manual_seed(seed))

    def cool(done: float) -> None:
        relaxation.temperature = _FIRST + (_LAST - _FIRST) * done

    with deterministic(seed, place):
        net = networks.supernet(space, task.signature, relaxation, **chosen)
        train(net, task, settings, seed=seed, device=device, schedule=cool, progress=progress)
    return net.derive()
