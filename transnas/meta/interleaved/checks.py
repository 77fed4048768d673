"""What is asked of tasks before any work starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from transnas import networks
from transnas._errors import InputError, unknown
from transnas.evaluation._resolve import resolve_skeleton
from transnas.meta.interleaved.kinds import DENSE, kinds
from transnas.meta.interleaved.methods import METHODS
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.spaces import Space
from transnas.tasks import DataTask, Task

__all__ = ["check_tasks"]

_STAGED = ("nasbench201", "proxyless")
"""Spaces whose supernets have `stages`."""


def check_tasks(
    tasks: Sequence[Task],
    space: Space,
    settings: InterleaveSettings,
    skeleton: Mapping[str, Any] | None,
) -> list[DataTask]:
    """Return `tasks` as those with data; raises `InputError` if they cannot be interleaved."""
    if not tasks:
        raise InputError("tasks are none; accepted: one or more, two for anything to be shared")
    names = [task.name for task in tasks]
    if len(set(names)) < len(names):
        raise InputError(f"tasks are {', '.join(names)}; accepted: different ones")
    if space.name not in networks.supernets():
        raise unknown("supernet for space", space.name, networks.supernets())
    if settings.method not in METHODS:
        raise unknown("method", settings.method, METHODS)
    if settings.paths != "direct" and METHODS[settings.method].samples:
        raise InputError(
            f"paths is {settings.paths!r} with method {settings.method!r}, which draws its edge "
            "weights anew; accepted: direct"
        )
    found = [_check(task, space, skeleton) for task in tasks]
    if settings.variant.one_encoder:
        channels = {task.name: task.signature.input_shape[0] for task in found}
        if len(set(channels.values())) > 1:
            listed = ", ".join(f"{name} {c}" for name, c in channels.items())
            raise InputError(
                f"tasks differ in channels ({listed}) with one encoder for all; accepted: equal "
                "channels, or another preset"
            )
    return found


def _check(task: Task, space: Space, skeleton: Mapping[str, Any] | None) -> DataTask:
    if not isinstance(task, DataTask):
        raise InputError(f"task {task.name!r} has no data to train on; accepted: one with data")
    if task.kind not in kinds():
        raise InputError(f"task {task.name!r} is {task.kind}; accepted: {', '.join(kinds())}")
    for part in ("train", "validation"):
        try:
            size = len(getattr(task, part))
        except InputError:
            size = 0
        if size < 2:
            raise InputError(
                f"task {task.name!r} has {size} {part} image(s); accepted: 2 or more, because "
                "weights learn from training and the architecture from validation data"
            )
    if task.kind in DENSE and space.name not in _STAGED:
        raise InputError(
            f"task {task.name!r} is {task.kind}, for which supernets of space {space.name!r} have "
            f"no stages; accepted: {', '.join(_STAGED)}"
        )
    shape = task.signature.input_shape
    if len(shape) != 3:
        raise InputError(
            f"task {task.name!r} has inputs of shape {shape}; accepted: (channels, height, width)"
        )
    try:
        resolve_skeleton(space, task.signature, skeleton)
    except (RuntimeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"task {task.name!r} has inputs of shape {shape}, which space {space.name!r} cannot "
            f"reduce ({str(error).splitlines()[0]}); accepted: larger images"
        ) from error
    return task
