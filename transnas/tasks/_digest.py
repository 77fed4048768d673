"""A short text that tells data sets apart which have the same name."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from transnas.tasks._base import DataTask

__all__ = ["digest_of"]

_TARGETS, _INPUTS = ("labels", "boxes", "tokens"), ("images", "masks")
"""Of splits in memory. Means and deviations are left out: they are rounded as machines do."""
_READ = 200
"""Inputs of a split that are read, evenly spread: some lie in files, decoded on each access."""


def digest_of(task: DataTask) -> str:
    """Return 16 hexadecimal digits from the classes, sizes, targets and some inputs of a task.

    The test split is not looked at.
    """
    found = hashlib.sha256(repr(task.classes).encode())
    for split in (task.train, task.validation):
        for name in (*_TARGETS, *_INPUTS):
            value: Any = getattr(split, name, ())
            if name in _INPUTS and len(value):
                found.update(f"{len(value)} ".encode())
                value = value[torch.linspace(0, len(value) - 1, min(_READ, len(value))).long()]
            for tensor in (value,) if isinstance(value, Tensor) else value:
                found.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
                found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()[:16]
