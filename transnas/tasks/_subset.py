"""The same task on some of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import Dataset

from transnas._errors import InputError
from transnas.tasks._base import DataTask, Signature
from transnas.tasks._tensors import TensorSplit

__all__ = ["of_classes"]


def of_classes(task: DataTask, classes: Sequence[int]) -> DataTask:
    """Return `task` with the images of `classes` alone, labelled 0..N-1 in their order.

    Raises `InputError` for a task that is not held in memory, or that is no classification.
    """
    if task.kind != "classification":
        raise InputError(f"classes are given for task {task.name!r}, a {task.kind}; accepted: none")
    splits: dict[str, Any] = {
        name: _of_classes(split, classes, task)
        for name, split in (("train", task.train), ("validation", task.validation))
    }
    if task._test is not None:
        splits["_test"] = _of_classes(task._test, classes, task)
    return replace(
        task,
        name=f"{task.name}[{','.join(map(str, classes))}]",
        signature=Signature(task.signature.input_shape, len(classes)),
        classes=tuple(task.classes[c] for c in classes),
        final_tests=[],
        **splits,
    )


def _of_classes(split: Dataset[Any], classes: Sequence[int], task: DataTask) -> TensorSplit:
    if not isinstance(split, TensorSplit):
        raise InputError(f"task {task.name!r} is not in memory; accepted: a task that is")
    label = torch.full((task.signature.outputs,), -1)
    label[torch.tensor(classes)] = torch.arange(len(classes))
    kept = torch.nonzero(label[split.labels] >= 0).flatten()
    return replace(split, images=split.images[kept], labels=label[split.labels[kept]])
