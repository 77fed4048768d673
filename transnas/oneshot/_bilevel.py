"""The loop that trains a supernet: logits on validation data, weights on training data, in turn.

First order (Liu et al., "DARTS", ICLR 2019, section 2.3 with xi = 0): the logits descend the
validation loss at the present weights, not at the weights that would be best for them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas._errors import InputError
from transnas.evaluation.training import Batches, Curve, Progress, Stopped, workplace
from transnas.networks import Supernet
from transnas.tasks import DataTask, Task

__all__ = ["Settings", "check_task", "train"]

Schedule = Callable[[float], None]
"""Called before each epoch with the share of the search that is done, from 0 to 1."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a supernet is trained; the defaults are those of DARTS on CIFAR-10."""

    epochs: int = 50
    batch_size: int = 64
    """Images a step, of training and of validation data each."""
    learning_rate: float = 0.025
    """Of the weights at first; half a cosine leads to `least_learning_rate`."""
    least_learning_rate: float = 0.001
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 3e-4
    gradient_clip: float = 5.0
    """Largest norm of the weights' gradient in a step."""
    logits_learning_rate: float = 3e-4
    """Of the logits (Adam, betas 0.5 and 0.999)."""
    logits_decay: float = 1e-3

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch_size", 2)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} is {value!r}; accepted: whole numbers from {least}")

    def rate(self, done: float) -> float:
        """Return the learning rate of the weights when this share of the steps is done."""
        low, high = self.least_learning_rate, self.learning_rate
        return low + (high - low) * 0.5 * (1 + math.cos(math.pi * done))


def train(
    net: Supernet,
    task: DataTask,
    settings: Settings,
    *,
    seed: int = 0,
    device: str = "auto",
    schedule: Schedule = lambda done: None,
    progress: Progress | None = None,
) -> Curve:
    """Train `net` in place; return `train_loss` and `validation_loss` of each epoch.

    `seed` orders the batches. Weights of operations that no path of a step uses rest: they have
    no gradient, and neither momentum nor decay moves them. Raises `Stopped` when a loss is not
    finite.
    """
    at = workplace(device, "32-true")
    net.to(at.device).to(memory_format=torch.channels_last).train()
    weights = net.shared_weights()
    by_weights = torch.optim.SGD(
        weights,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
    )
    by_logits = torch.optim.Adam(
        [net.logits],
        lr=settings.logits_learning_rate,
        betas=(0.5, 0.999),
        weight_decay=settings.logits_decay,
    )
    train_batches, held_out = (
        Batches(split, settings.batch_size, at.device, torch.Generator().manual_seed(s))
        for split, s in ((task.train, 2 * seed), (task.validation, 2 * seed + 1))
    )
    validation = _endless(held_out, task.augmentation)
    steps, step, curve = settings.epochs * len(train_batches), 0, Curve()
    for epoch in range(settings.epochs):
        schedule(epoch / max(1, settings.epochs - 1))
        totals = torch.zeros(2, device=at.device)
        for batch in train_batches.epoch(task.augmentation):
            by_weights.param_groups[0]["lr"] = settings.rate(step / steps)
            outer = _step(net, by_logits, [net.logits], next(validation))
            inner = _step(net, by_weights, weights, batch, settings.gradient_clip)
            totals += torch.stack((inner, outer))
            step += 1
        inner_mean, outer_mean = (totals / len(train_batches)).tolist()
        if not math.isfinite(inner_mean + outer_mean):
            raise Stopped(f"loss is not finite in epoch {epoch + 1}", curve)
        curve.append({"train_loss": inner_mean, "validation_loss": outer_mean})
        if progress is not None:
            progress(epoch + 1, curve[-1])
    return curve


def check_task(task: Task) -> DataTask:
    """Return `task`; raises `InputError` if it has no data."""
    if not isinstance(task, DataTask):
        raise InputError(f"task {task.name!r} has no data to train on; accepted: one with data")
    return task


def _step(
    net: Supernet,
    optimiser: torch.optim.Optimizer,
    parameters: list[torch.nn.Parameter],
    batch: tuple[Tensor, Tensor],
    clip: float = math.inf,
) -> Tensor:
    """Move `parameters`, and nothing else, down the loss of `batch`; return that loss [].

    Gradients of other parameters are not computed.
    """
    images, labels = batch
    loss = F.cross_entropy(net(images), labels)
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss, inputs=parameters)
    if clip < math.inf:
        torch.nn.utils.clip_grad_norm_(parameters, clip)
    optimiser.step()
    return loss.detach()


def _endless(batches: Batches, augmentation: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the batches of one shuffled epoch after the other."""
    for _ in itertools.count():
        yield from batches.epoch(augmentation)
