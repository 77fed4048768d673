"""The training loop: one network, one recipe, a number of epochs."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from transnas._checkpoints import (
    Checkpoint,
    optimiser_state,
    random_state,
    require_device,
    restore_optimiser,
    restore_random_state,
)
from transnas._errors import InputError
from transnas.evaluation._averaging import Averaging
from transnas.evaluation._kinds import kind_of
from transnas.evaluation.recipe import Recipe
from transnas.tasks._tensors import Batched, augment, cutout

__all__ = [
    "Batches",
    "Curve",
    "Progress",
    "Stopped",
    "Workplace",
    "check_device",
    "deterministic",
    "fit",
    "measure",
    "workplace",
]

_Precision = Literal["32-true", "bf16-mixed", "16-mixed"]
_LOOK = 20
"""Steps between two looks at whether the loss is finite: each waits for a GPU."""
Curve = list[dict[str, float]]
Progress = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with its number (from 1) and its metrics."""


class Stopped(Exception):
    """A training that was given up: why, and the learning curve until then."""

    def __init__(self, reason: str, curve: Curve) -> None:
        super().__init__(reason)
        self.curve = curve


@dataclass(frozen=True)
class Workplace:
    """A device and how numbers are held there."""

    fabric: Any
    """`lightning_fabric.Fabric`: moves the network, casts, scales."""

    @property
    def device(self) -> torch.device:
        """Where tensors go."""
        device: torch.device = self.fabric.device
        return device

    @property
    def label(self) -> str:
        """The device in words, for the record."""
        return (
            torch.cuda.get_device_name(self.device)
            if self.device.type == "cuda"
            else str(self.device)
        )


def workplace(device: str = "auto", precision: str = "auto") -> Workplace:
    """Return the device called `device` (`auto`: a GPU if there is one; `cpu`, `cuda`, `cuda:1`).

    Raises `InputError` for a device that is not there.
    """
    from lightning_fabric import Fabric

    kind, number = check_device(device)
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} is not there; accepted: cpu, or one of "
            f"{torch.cuda.device_count()} CUDA device(s)"
        )
    if precision == "auto":
        mixed = kind == "cuda" and torch.cuda.is_bf16_supported()
        precision = "bf16-mixed" if mixed else "32-true"
    devices = [int(number or 0)] if kind == "cuda" else 1
    return Workplace(
        Fabric(accelerator=kind, devices=devices, precision=cast(_Precision, precision))
    )


def check_device(device: str) -> tuple[str, str]:
    """Return kind and number of a device's name; raises `InputError` for what is no such name.

    Whether it is there is for `workplace` to say, on the machine that does the work.
    """
    kind, _, number = str(device).partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdecimal()):
        raise InputError(f"device {device!r} is unknown; accepted: auto, cpu, cuda, cuda:0, ...")
    return kind, number


@contextmanager
def deterministic(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch inside, and give the caller its random state back afterwards."""
    devices = [device] if device.type == "cuda" else []
    with (
        torch.random.fork_rng(devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield


def fit(
    network: nn.Module,
    train: Dataset[Any],
    validation: Dataset[Any] | None,
    recipe: Recipe,
    *,
    epochs: int,
    seed: int = 0,
    augmentation: str = "none",
    kind: str = "classification",
    at: Workplace,
    deadline: float | None = None,
    progress: Progress | None = None,
    checkpoint: Checkpoint | None = None,
) -> Curve:
    """Train `network` in place and return its learning curve, one mapping an epoch.

    A mapping has `train_loss` (smoothed targets, augmented images), and with `validation` also
    the metrics of `kind` there (`_kinds`), as `validation_accuracy` and `validation_loss`. The
    network ends on the workplace's device, in evaluation mode. Raises `Stopped` when a loss is not
    finite, or when `deadline` seconds have passed. With a `checkpoint` (for recipes without
    averages) it goes on after the last epoch that is there, to the same end, and keeps each epoch.
    """
    _check_recipe(recipe, network, kind, validation)
    started = time.perf_counter()
    generator = torch.Generator().manual_seed(seed)
    task_kind = kind_of(kind)
    network.to(memory_format=torch.channels_last)
    optimiser = _optimiser(network, recipe)
    run = _Run(network, optimiser, generator, at)
    wrapped, optimiser = at.fabric.setup(network, optimiser)
    for method in (*task_kind.methods, *(["with_auxiliary"] if recipe.auxiliary else [])):
        wrapped.mark_forward_method(method)
    averaging = Averaging(list(network.parameters()), recipe.average_after)
    batches = Batches(train, recipe.batch_size, at.device, generator)
    curve = Curve() if checkpoint is None else run.go_on(checkpoint)
    steps, step = epochs * len(batches), len(curve) * len(batches)
    held_out = None if validation is None else on_device(validation, at.device)
    for epoch in range(len(curve) + 1, epochs + 1):
        wrapped.train()
        total = torch.zeros((), device=at.device)
        for images, targets in batches.epoch(augmentation if recipe.augment else "none"):
            if deadline is not None and time.perf_counter() - started > deadline:
                raise Stopped(f"training exceeded {deadline:g} s in epoch {epoch}", curve)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate(step, steps)
            if recipe.drop_path:
                network.drop_path = recipe.drop_path * step / steps  # type: ignore[assignment]
            if recipe.cutout:
                images = cutout(images, recipe.cutout, generator)
            loss = task_kind.loss(wrapped, images, targets, recipe)
            optimiser.zero_grad(set_to_none=True)
            at.fabric.backward(loss)
            at.fabric.clip_gradients(
                wrapped, optimiser, max_norm=recipe.gradient_clip, error_if_nonfinite=False
            )
            optimiser.step()
            averaging.update()
            total += loss.detach()
            step += 1
            if step % _LOOK == 0 and not math.isfinite(total):
                break
        metrics = {"train_loss": float(total) / len(batches)}
        if math.isfinite(metrics["train_loss"]) and held_out is not None:
            with averaging.applied():
                found = measure(wrapped, held_out, at, kind)
            if recipe.average_after:
                averaging.check(found["loss"])
            metrics |= {f"validation_{name}": value for name, value in found.items()}
        if not all(map(math.isfinite, metrics.values())):
            raise Stopped(f"loss is not finite in epoch {epoch}", curve)
        curve.append(metrics)
        if checkpoint is not None:
            checkpoint.save(run.state(curve))
        if progress is not None:
            progress(epoch, metrics)
    averaging.settle()
    network.to(memory_format=torch.contiguous_format)
    wrapped.eval()
    return curve


@dataclass(frozen=True)
class _Run:
    """What a training that goes on needs of its past."""

    network: nn.Module
    optimiser: torch.optim.Optimizer
    generator: torch.Generator
    at: Workplace

    def state(self, curve: Curve) -> dict[str, Any]:
        """Return all that the next epoch depends on, after those of `curve`."""
        return {
            "network": self.network.state_dict(),
            "optimiser": optimiser_state(self.optimiser),
            "batches": self.generator.get_state(),
            "random": random_state(self.at.device),
            "precision": self.at.fabric.strategy.precision.state_dict(),
            "curve": curve,
        }

    def go_on(self, checkpoint: Checkpoint) -> Curve:
        """Take on what `checkpoint` holds, if anything; return the curve until then."""
        state = checkpoint.load()
        if state is None:
            return Curve()
        require_device(checkpoint.path, state["random"], self.at.device)
        self.network.load_state_dict(state["network"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.generator.set_state(state["batches"])
        restore_random_state(state["random"], self.at.device)
        self.at.fabric.strategy.precision.load_state_dict(state["precision"])
        return Curve(state["curve"])


def _check_recipe(
    recipe: Recipe, network: nn.Module, kind: str, validation: Dataset[Any] | None
) -> None:
    """Raise `InputError` for a field that this training makes no use of."""
    if recipe.drop_path and not hasattr(network, "drop_path"):
        raise InputError(
            f"recipe field 'drop_path' is {recipe.drop_path}; accepted above 0 only for networks "
            "of cells (DARTS, NASNet, PNAS, ENAS micro) or columns (fractal)"
        )
    if recipe.auxiliary and getattr(network, "auxiliary", None) is None:
        raise InputError(
            f"recipe field 'auxiliary' is {recipe.auxiliary}; accepted above 0 only for DARTS "
            "networks with skeleton setting auxiliary=True"
        )
    if recipe.cutout and kind != "classification":
        raise InputError(f"recipe field 'cutout' is {recipe.cutout}; accepted for a {kind}: 0")
    if recipe.average_after and validation is None:
        raise InputError(
            f"recipe field 'average_after' is {recipe.average_after}; accepted without validation "
            "data, as in a final training: 0"
        )


def measure(
    network: nn.Module, split: Dataset[Any], at: Workplace, kind: str = "classification"
) -> dict[str, float]:
    """Return the metrics of `kind` (`_kinds`) of `network` on `split`."""
    network.eval()
    chosen = kind_of(kind)
    with torch.no_grad(), at.fabric.autocast():
        return chosen.measure(network, Batches(split, chosen.largest, at.device).epoch())


def on_device(split: Dataset[Any], device: torch.device) -> Dataset[Any]:
    """Return `split` with its tensors on `device`, if it is held in memory."""
    return split.to(device) if isinstance(split, Batched) else split


class Batches:
    """The batches of a split, shuffled if there is a generator.

    A last batch of one image is left out of shuffled epochs: normalisation cannot use it.
    """

    def __init__(
        self,
        split: Dataset[Any],
        size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
    ) -> None:
        placed = on_device(split, device)
        self.split = placed.arranged(size) if isinstance(placed, Batched) else placed
        self.device = device
        self.generator = generator
        self.shuffled = generator is not None and not (
            isinstance(placed, Batched) and placed.follows
        )
        count = len(self.split)  # type: ignore[arg-type]
        self.size = min(size, count)
        whole, rest = divmod(count, self.size)
        shortest = 2 if generator is not None else 1
        self.count = whole + (rest >= shortest)
        self.used = whole * self.size + (rest if rest >= shortest else 0)

    def __len__(self) -> int:
        return self.count

    def epoch(self, augmentation: str = "none") -> Iterator[tuple[Tensor, Any]]:
        """Yield (inputs float32 [B, C, H, W] or tokens int64 [B, T], targets) on the device.

        Targets are labels int64 [B], or what a split of another kind gives (`Batched.batch`).
        """
        total = len(self.split)  # type: ignore[arg-type]
        order = torch.arange(total)
        if self.shuffled:
            order = torch.randperm(total, generator=self.generator)
        chunks = torch.split(order[: self.used], self.size)
        if isinstance(self.split, Batched):
            for chunk in chunks:
                images, targets = self.split.batch(chunk, augmentation, self.generator)
                yield _channels_last(images), targets
            return
        loader = DataLoader(self.split, batch_sampler=[chunk.tolist() for chunk in chunks])
        for images, labels in loader:
            moved = augment(images.float(), augmentation, self.generator).to(self.device)
            yield _channels_last(moved), labels.long().to(self.device)


def _channels_last(images: Tensor) -> Tensor:
    """Return `images` with the channels of a pixel side by side, which convolutions prefer."""
    if images.ndim != 4:
        return images
    return images.contiguous(memory_format=torch.channels_last)


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.SGD:
    decayed = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]
    plain = [p for p in network.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.SGD(
        groups,
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        nesterov=recipe.momentum > 0,
    )
