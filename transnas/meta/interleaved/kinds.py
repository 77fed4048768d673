"""Kinds of tasks: head, loss, score and chance level of each, behind one interface."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from transnas._registry import Registry
from transnas.evaluation import _kinds
from transnas.tasks import DataTask
from transnas.tasks._base import IGNORED
from transnas.tasks._tensors import Batched, TensorSplit

__all__ = ["DENSE", "Kind", "batch_size", "kind_of", "kinds", "register"]

DENSE = ("detection", "segmentation")
"""Kinds whose heads stand on the maps of all stages."""


class Kind(Protocol):
    """What interleaved search must know of a kind of tasks."""

    most: int
    """Images in a batch at most."""

    def loss(self, output: Any, targets: Any) -> Tensor:
        """Return the loss [] of a batch: what its head returned, and its targets."""

    def score(self, output: Any, targets: Any) -> Tensor:
        """Return the metric [] of a batch, greater is better."""

    def chance(self, task: DataTask) -> float | None:
        """Return the loss of the best constant predictor on validation data; None: not known."""


_KINDS: Registry[Kind] = Registry("kind of task", "transnas.meta.interleaved", "kinds")
register = _KINDS.register
"""Decorator that enters a `Kind` under the name that tasks give as their `kind`."""


kinds = _KINDS.names
"""Return the names of all kinds, sorted."""


def kind_of(task: DataTask) -> Kind:
    """Return the kind of `task`; raises `InputError` for one that has no head here."""
    return _KINDS.get(task.kind)


def batch_size(task: DataTask, wanted: int) -> int:
    """Return how many images of `task` make a batch: as many as wanted, if its kind takes them."""
    return min(wanted, kind_of(task).most)


class _Classification:
    """Cross-entropy and accuracy; chance is the entropy of the labels."""

    most = 2**31

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """[B, classes], [B] -> []."""
        return F.cross_entropy(output, targets)

    def score(self, output: Tensor, targets: Tensor) -> Tensor:
        """[B, classes], [B] -> share of right answers []."""
        return (output.argmax(1) == targets).float().mean()

    def chance(self, task: DataTask) -> float:
        """Return the entropy of the validation labels in nats; log C where classes are balanced."""
        counts = torch.bincount(labels(task.validation), minlength=task.signature.outputs).double()
        return _entropy(counts)


class _Segmentation:
    """Cross-entropy and share of right pixels; chance is the entropy of the pixels' classes."""

    most = _kinds.kind_of("segmentation").recipe.batch_size

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """[B, classes, H, W], [B, H, W] -> []; pixels of class 255 do not count."""
        return _kinds.pixel_entropy(output, targets)

    def score(self, output: Tensor, targets: Tensor) -> Tensor:
        """[B, classes, H, W], [B, H, W] -> share of right pixels []."""
        counted = targets != IGNORED
        return (output.argmax(1) == targets)[counted].float().mean()

    def chance(self, task: DataTask) -> float:
        """Return the entropy of the classes of all validation pixels in nats."""
        counts, split = torch.zeros(256), cast(Batched, task.validation)
        for part in torch.split(torch.arange(len(split)), self.most):
            counts += torch.bincount(split.batch(part)[1].flatten().cpu(), minlength=256)
        counts[IGNORED] = 0
        return _entropy(counts.double())


class _Detection:
    """The sum of Faster R-CNN's four losses, which is its score too, negated."""

    most = _kinds.kind_of("detection").recipe.batch_size

    def loss(self, output: Mapping[str, Tensor], targets: Any) -> Tensor:
        """Return the sum of the losses []."""
        return torch.stack(list(output.values())).sum()

    def score(self, output: Mapping[str, Tensor], targets: Any) -> Tensor:
        """Return the loss [], negated: average precision needs more than a batch."""
        return -self.loss(output, targets)

    def chance(self, task: DataTask) -> float | None:
        """Return None: what a constant detector loses is not known."""
        return None


def _entropy(counts: Tensor) -> float:
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
register("segmentation")(_Segmentation())
register("detection")(_Detection())
