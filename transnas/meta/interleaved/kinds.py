"""Kinds of tasks: head, loss, score and chance level of each, behind one interface."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from transnas._registry import Registry
from transnas.tasks import DataTask
from transnas.tasks._tensors import TensorSplit

__all__ = ["Kind", "kind_of", "register"]


class Kind(Protocol):
    """What interleaved search must know of a kind of tasks."""

    def loss(self, output: Any, targets: Any) -> Tensor:
        """Return the loss [] of a batch: what its head returned, and its targets."""

    def score(self, output: Any, targets: Any) -> Tensor:
        """Return the metric [] of a batch, greater is better."""

    def chance(self, task: DataTask) -> float | None:
        """Return the loss of the best constant predictor on validation data; None: not known."""


_KINDS: Registry[Kind] = Registry("kind of task", "transnas.meta.interleaved", "kinds")
register = _KINDS.register
"""Decorator that enters a `Kind` under the name that tasks give as their `kind`."""


def kind_of(task: DataTask) -> Kind:
    """Return the kind of `task`; raises `InputError` for one that has no head here."""
    return _KINDS.get(task.kind)


class _Classification:
    """Cross-entropy and accuracy; chance is the entropy of the labels."""

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """[B, classes], [B] -> []."""
        return F.cross_entropy(output, targets)

    def score(self, output: Tensor, targets: Tensor) -> Tensor:
        """[B, classes], [B] -> share of right answers []."""
        return (output.argmax(1) == targets).float().mean()

    def chance(self, task: DataTask) -> float:
        """Return the entropy of the validation labels in nats; log C where classes are balanced."""
        counts = torch.bincount(labels(task.validation), minlength=task.signature.outputs).double()
        share = counts / counts.sum()
        entropy = float(-(share * share.clamp_min(1e-300).log()).sum())
        return max(entropy, 1e-6)


def labels(split: Dataset[Any]) -> Tensor:
    """Return all labels of a split, int64 [N]."""
    if isinstance(split, TensorSplit):
        return split.labels.cpu()
    count = len(split)  # type: ignore[arg-type]
    return torch.tensor([int(split[i][1]) for i in range(count)])


register("classification")(_Classification())
