"""`search`: runs one one-shot method on one task, from its first step or a checkpoint on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from transnas import networks
from transnas._checkpoints import (
    Checkpoint,
    load_checkpoint,
    random_state,
    require_device,
    restore_random_state,
)
from transnas._errors import InputError
from transnas.evaluation.training import Curve, Progress, Stopped, deterministic, workplace
from transnas.networks.relaxations import Softmax
from transnas.oneshot._base import OneShot, check_task
from transnas.oneshot._indicators import architecture_indicators, mean_entropy
from transnas.oneshot._registry import get
from transnas.oneshot._settings import Settings
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, Signature, Task

__all__ = ["Result", "begin", "identity_of", "load_search", "search"]

_OFTEN = 20.0
"""Checkpoints take at most one part in so many of the time."""


@dataclass
class Result:
    """What a search found."""

    architecture: Architecture
    curve: Curve
    """One mapping an epoch: `train_loss`, `supernet_accuracy`, `derived_accuracy`, ..."""
    shares: list[list[list[float]]]
    """Weights of the architecture after each epoch, [epochs][edges][operations]; [] without."""
    derived: list[str]
    """Text of the architecture that each epoch would have given."""
    seconds: float
    """Time spent, also by earlier runs that were interrupted."""
    method: OneShot
    """The search at its end, with the trained supernet."""


@dataclass
class _Record:
    """What was seen of the epochs so far."""

    curve: Curve = field(default_factory=list)
    shares: list[list[list[float]]] = field(default_factory=list)
    derived: list[str] = field(default_factory=list)
    seconds: float = 0.0


def search(
    task: Task,
    space: Space,
    method: str = "darts",
    settings: Settings | None = None,
    *,
    skeleton: Mapping[str, Any] | None = None,
    seed: int = 0,
    device: str = "auto",
    checkpoint: str | Path | None = None,
    progress: Progress | None = None,
) -> Result:
    """Train a supernet by `method` and return what it derives.

    Args:
        task: A task with data; weights see its training split, the architecture its validation
            split (the published searches halve the training data).
        space: A space with a supernet.
        method: A registered name (`oneshot.names()`).
        settings: The method's `Settings`; None: as published.
        skeleton: The supernet's size; None: the published small one, or what suits such inputs.
        seed: Seed of everything that is drawn; each purpose has a stream of its own.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        checkpoint: File from which the search goes on if it is there, and into which it is
            written now and then, whole or not at all; the result is that of an undisturbed search.
        progress: Called after each epoch.

    Raises:
        InputError: Something given is not accepted, before any training.
        Stopped: A loss or the architecture's logits are not finite.
    """
    cls = get(method)
    chosen = cls.Settings() if settings is None else settings
    if not isinstance(chosen, cls.Settings):
        raise InputError(
            f"settings are {type(chosen).__name__}; method {method!r} accepts: "
            f"{cls.Settings.__name__}"
        )
    at = workplace(device, chosen.precision)
    with deterministic(seed, at.device):
        running = begin(task, space, cls, chosen, skeleton, seed, at)
        identity = identity_of(method, running)
        kept = None if checkpoint is None else Checkpoint(Path(checkpoint), identity)
        record = _Record()
        if kept is not None and (state := kept.load()) is not None:
            require_device(kept.path, state["random"], at.device)
            record = _Record(**state["record"])
            running.restore(state["search"])
            restore_random_state(state["random"], at.device)
        saver = _Saver(kept, running, record)
        _run(running, record, saver, progress)
        saver.save()  # before deriving, which draws: whoever goes on from here derives the same
        architecture = running.derive()
        saver.count()
    return Result(
        architecture, record.curve, record.shares, record.derived, record.seconds, running
    )


def load_search(path: Path, task: Task, space: Space, device: str = "auto") -> OneShot:
    """Return the search that a checkpoint holds, with its supernet; its settings are read there.

    Generators start anew, since another device may have written theirs.

    Raises `InputError` if it is of another task, other data, or another space.
    """
    wanted = {"space": space.name, **_identity_of_task(check_task(task))}
    found, state = load_checkpoint(path, wanted)
    cls = get(found["method"])
    settings = cls.Settings(**found["settings"])
    at = workplace(device, settings.precision)
    with deterministic(found["seed"], at.device):
        running = begin(task, space, cls, settings, found["skeleton"], found["seed"], at)
        running.restore({**state["search"], "generators": {}})
    return running


def begin(
    task: Task,
    space: Space,
    cls: type[OneShot],
    settings: Settings,
    skeleton: Mapping[str, Any] | None,
    seed: int,
    at: Any,
) -> OneShot:
    """Return a search before its first step; raises `InputError` for what it cannot search."""
    data = check_task(task)
    chosen = proxy(space, data.signature) if skeleton is None else skeleton
    return cls(data, space, settings, chosen, seed, at)


def proxy(space: Space, signature: Signature) -> dict[str, Any]:
    """Return the skeleton of a supernet where none is named.

    It is that of stand-alone networks, or the published small one (16 channels, 8 cells) where
    networks of the space have `channels` and `layers` and none are suggested for such inputs.
    """
    chosen = networks.suggest(space, signature)
    published = {"channels": 16, "layers": 8}
    if set(published) & set(chosen):
        return chosen
    try:
        with torch.device("meta"):
            networks.supernet(space, signature, Softmax(), **{**chosen, **published})
    except InputError:
        return chosen
    return {**chosen, **published}


def identity_of(method: str, running: OneShot) -> dict[str, Any]:
    """Return what a checkpoint must share with the search that goes on from it."""
    signature = running.task.signature
    return {
        "method": method,
        "space": running.space.name,
        **_identity_of_task(running.task),
        "signature": [list(signature.input_shape), signature.outputs],
        "settings": asdict(running.settings),
        "skeleton": running.skeleton,
        "seed": running.seed,
    }


def _identity_of_task(task: DataTask) -> dict[str, str]:
    """Return what a checkpoint knows its task by: the name, and the digest of the user's data."""
    return {"task": task.name, **({"data": task.digest} if task.digest else {})}


def _run(running: OneShot, record: _Record, saver: _Saver, progress: Progress | None) -> None:
    """Take the steps that are left."""
    while running.epoch < running.settings.epochs and not running.stopped:
        running.begin_epoch()
        try:
            while running.step_of_epoch < len(running.training):
                running.train_step(running.training.next())
                running.step_of_epoch += 1
                saver.save_if_due()
            running.end_epoch()
            _finish_epoch(running, record)
        except InputError as refusal:
            if all(p.isfinite().all() for p in running.net.architecture_parameters()):
                raise
            raise Stopped(
                f"architecture weights are not finite in epoch {running.epoch + 1}; a smaller "
                "logits_learning_rate may help",
                record.curve,
            ) from refusal
        saver.save_if_due()
        if progress is not None:
            try:
                progress(running.epoch, record.curve[-1])
            except BaseException:
                saver.save()  # between two epochs, all is in order
                raise


def _finish_epoch(running: OneShot, record: _Record) -> None:
    """Note down how the epoch went; raises `Stopped` if losses are no longer finite."""
    shares, means = running.shares(), running.means()
    running.epoch, running.step_of_epoch = running.epoch + 1, 0
    if not all(map(math.isfinite, means.values())):
        raise Stopped(f"loss is not finite in epoch {running.epoch}", record.curve)
    present = running.present()
    means |= architecture_indicators(running.net, present)
    means["derived_accuracy"] = running.checked_accuracy(present)
    if shares is not None:
        means["entropy"] = mean_entropy(shares)
        record.shares.append([[round(p, 4) for p in row] for row in shares.tolist()])
    record.derived.append(running.space.to_text(present))
    record.curve.append(means)


class _Saver:
    """Writes checkpoints as often as they are cheap, and keeps the time."""

    def __init__(self, checkpoint: Checkpoint | None, running: OneShot, record: _Record) -> None:
        self._checkpoint = checkpoint
        self._running = running
        self._record = record
        self._cost = 0.0
        self._counted = self._saved = time.perf_counter()

    def save_if_due(self) -> None:
        """Write one if the last one is long enough ago."""
        if time.perf_counter() - self._saved > max(1.0, _OFTEN * self._cost):
            self.save()

    def count(self) -> float:
        """Add the time since the last call to the record; return the present moment."""
        now = time.perf_counter()
        self._record.seconds += now - self._counted
        self._counted = now
        return now

    def save(self) -> None:
        """Write one now."""
        now = self.count()
        if self._checkpoint is None:
            return
        state = {
            "search": self._running.state(),
            "record": {
                "curve": self._record.curve,
                "shares": self._record.shares,
                "derived": self._record.derived,
                "seconds": self._record.seconds,
            },
            "random": random_state(self._running.at.device),
        }
        self._checkpoint.save(state)
        self._saved = time.perf_counter()
        self._cost = self._saved - now
