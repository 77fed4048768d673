"""What training and measuring mean for each kind of task: a loss, metrics, a recipe."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas._errors import require
from transnas.evaluation.recipe import Recipe
from transnas.tasks import Signature
from transnas.tasks._base import IGNORED

__all__ = ["Kind", "kind_of", "pixel_entropy"]

Batch = tuple[Tensor, Any]
_FEW_CLASSES = 10
"""Up to so many classes, five guesses say little."""


class Kind(ABC):
    """One kind of task; a network and its targets are those of `networks.build` and its splits."""

    recipe = Recipe()
    """How networks are trained where nothing else is said."""
    largest = 256
    """Images in a batch of `measure`; maps of more take a CPU half as long again."""
    methods: tuple[str, ...] = ()
    """Methods of the network that `loss` calls beside calling it."""
    metrics: tuple[str, ...]
    """The names of what `measure` returns."""

    def blank(
        self, count: int, signature: Signature, device: torch.device | str | None = None
    ) -> Tensor:
        """Return `count` inputs of zeros."""
        return torch.zeros(count, *signature.input_shape, device=device)

    def require(self) -> None:  # noqa: B027 - most need nothing
        """Raise `InputError` if an extra is missing that the metrics need."""

    @abstractmethod
    def loss(self, network: nn.Module, images: Tensor, targets: Any, recipe: Recipe) -> Tensor:
        """Return the training loss of a batch, a scalar."""

    @abstractmethod
    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        """Return metrics of `network`, which is in evaluation mode and without gradients."""

    @abstractmethod
    def blank_loss(self, network: nn.Module, images: Tensor) -> Tensor:
        """Return a loss of the right shape without data, for counting memory on `meta`."""


class Classification(Kind):
    """Cross-entropy with smoothed targets; `accuracy` (0..1) and `loss`.

    With more than ten classes also `top5_accuracy`: the true class is among the five likeliest.
    """

    metrics = ("loss", "accuracy")

    def loss(self, network: nn.Module, images: Tensor, targets: Any, recipe: Recipe) -> Tensor:
        smoothing = recipe.label_smoothing
        if recipe.auxiliary == 0.0:
            return F.cross_entropy(network(images), targets, label_smoothing=smoothing)
        both: Any = network.with_auxiliary
        main, second = (
            F.cross_entropy(scores, targets, label_smoothing=smoothing) for scores in both(images)
        )
        return main + recipe.auxiliary * second

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        count, loss, right, near = 0, torch.zeros(()), torch.zeros(()), torch.zeros(())
        many = False
        for images, labels in batches:
            scores = network(images).float()
            loss = loss + F.cross_entropy(scores, labels, reduction="sum")
            right = right + (scores.argmax(1) == labels).sum()
            count += len(labels)
            many = scores.shape[1] > _FEW_CLASSES
            if many:
                near = near + (scores.topk(5).indices == labels[:, None]).sum()
        found = {"loss": float(loss) / count, "accuracy": float(right) / count}
        return {**found, "top5_accuracy": float(near) / count} if many else found

    def blank_loss(self, network: nn.Module, images: Tensor) -> Tensor:
        labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
        return F.cross_entropy(network(images), labels)


class Segmentation(Kind):
    """Cross-entropy of pixels that count; `miou` (0..1), `pixel_accuracy` and `loss`.

    `miou` is the mean over the classes that occur (in truth or prediction) of intersection over
    union, from the confusion matrix of all pixels together, as Cityscapes counts it.
    """

    recipe = Recipe(batch_size=8, learning_rate=0.05, label_smoothing=0.0)
    metrics = ("miou", "pixel_accuracy", "loss")
    largest = 16

    def require(self) -> None:
        require("metrics of segmentation", "torchmetrics", "detection")

    def loss(self, network: nn.Module, images: Tensor, targets: Any, recipe: Recipe) -> Tensor:
        return pixel_entropy(network(images), targets, recipe.label_smoothing)

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        confusion, loss = torch.zeros((), dtype=torch.int64), torch.zeros(())
        for images, masks in batches:
            scores = network(images).float()
            loss = loss + F.cross_entropy(scores, masks, ignore_index=IGNORED, reduction="sum")
            confusion = confusion + multiclass_confusion_matrix(
                scores.argmax(1), masks, scores.shape[1], ignore_index=IGNORED, validate_args=False
            )
        counts = confusion.double()
        union = counts.sum(0) + counts.sum(1) - counts.diag()
        pixels, seen = counts.sum(), union > 0
        return {
            "miou": float((counts.diag()[seen] / union[seen]).mean()),
            "pixel_accuracy": float(counts.diag().sum() / pixels),
            "loss": float(loss) / float(pixels),
        }

    def blank_loss(self, network: nn.Module, images: Tensor) -> Tensor:
        masks = torch.zeros(
            len(images), *images.shape[-2:], dtype=torch.int64, device=images.device
        )
        return F.cross_entropy(network(images), masks)


class Detection(Kind):
    """The losses of Faster R-CNN; `map` (COCO's, over IoU 0.50:0.95), `map50` and `map75`."""

    recipe = Recipe(batch_size=8, learning_rate=0.02, label_smoothing=0.0)
    metrics = ("map", "map50", "map75")
    largest = 16

    def require(self) -> None:
        require("metrics of detection", "faster_coco_eval", "detection")

    def loss(self, network: nn.Module, images: Tensor, targets: Any, recipe: Recipe) -> Tensor:
        losses = network(images, targets)
        return torch.stack(list(losses.values())).sum()

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        from transnas.evaluation._precision import average_precision

        found, truth = [], []
        for images, targets in batches:
            found += network(images)
            truth += targets
        return average_precision(found, truth)

    def blank_loss(self, network: nn.Module, images: Tensor) -> Tensor:
        dense: Any = network.dense
        return torch.stack([f.mean() for f in dense(images).values()]).sum()


class Language(Kind):
    """Cross-entropy of the next token; `perplexity`, `log_likelihood` and `loss`, in nats a token.

    Every window starts from the state that the one before it ended with (truncated
    backpropagation through time). The recipe is DARTS's for the Penn Treebank, but that its
    learning rate falls to zero over the budget, and that its batches are smaller.
    """

    recipe = Recipe(
        batch_size=20,
        learning_rate=20.0,
        warmup=0.0,
        momentum=0.0,
        weight_decay=8e-7,
        label_smoothing=0.0,
        gradient_clip=0.25,
        average_after=5,
    )
    metrics = ("loss", "log_likelihood", "perplexity")
    largest = 10
    methods = ("run",)

    def blank(
        self, count: int, signature: Signature, device: torch.device | str | None = None
    ) -> Tensor:
        """Return `count` rows of the first token."""
        return torch.zeros(count, *signature.input_shape, dtype=torch.int64, device=device)

    def loss(self, network: nn.Module, images: Tensor, targets: Any, recipe: Recipe) -> Tensor:
        run: Any = network.run
        scores, state = run(images, targets.carried.state)
        targets.carried.state = state.detach()
        return F.cross_entropy(
            scores.flatten(0, 1),
            targets.tokens.flatten(),
            label_smoothing=recipe.label_smoothing,
        )

    def measure(self, network: nn.Module, batches: Iterable[Batch]) -> dict[str, float]:
        run: Any = network.run
        count, loss = 0, 0.0
        for tokens, targets in batches:
            scores, targets.carried.state = run(tokens, targets.carried.state)
            true = targets.tokens.flatten()
            loss += float(F.cross_entropy(scores.float().flatten(0, 1), true, reduction="sum"))
            count += len(true)
        mean = loss / count
        return {"loss": mean, "log_likelihood": -mean, "perplexity": math.exp(min(mean, 700.0))}

    def blank_loss(self, network: nn.Module, images: Tensor) -> Tensor:
        scores = network(images)
        return F.cross_entropy(scores.flatten(0, 1), images.flatten())


def pixel_entropy(scores: Tensor, masks: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the mean cross-entropy of the pixels that count, [B, C, H, W], [B, H, W] -> [].

    0 where all are ignored, for which torch's mean is NaN.
    """
    total = F.cross_entropy(
        scores, masks, ignore_index=IGNORED, reduction="sum", label_smoothing=smoothing
    )
    return total / (masks != IGNORED).sum().clamp(min=1)


_KINDS: dict[str, Kind] = {
    "classification": Classification(),
    "detection": Detection(),
    "segmentation": Segmentation(),
    "language": Language(),
}


def kind_of(name: str) -> Kind:
    """Return the kind of task called `name` (`tasks.KINDS`)."""
    return _KINDS[name]
