"""The loop of meta-training: episodes, validation, checkpoints; an interrupted one goes on exactly.

A checkpoint is written at the start, with the execution that was chosen, and after every
`checkpoint_every` meta-steps. Episodes are functions of the step's number, so after a kill the
same command repeats at most that many steps and ends in the same bits (on one processor with the
same number of threads; accelerators add in an order of their own).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.meta._prior import has_prior, read_prior, write_prior
from transnas.meta.few_shot._execution import Execution
from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.decoding import SPACE
from transnas.meta.few_shot.evaluation import evaluate
from transnas.meta.few_shot.state import State
from transnas.tasks.episodes import EpisodeSource, EpisodeSpec

__all__ = ["Diverged", "Plan", "Trained", "meta_train"]

_KIND, _FORMAT = "few-shot-checkpoint", 1
_BEST = "best/"


class Diverged(RuntimeError):
    """No task of many meta-steps in a row stayed finite."""


@dataclass(frozen=True)
class Plan:
    """Length and rhythm of a meta-training."""

    spec: EpisodeSpec = field(default_factory=EpisodeSpec)
    tasks: int = 4
    """Tasks in a meta-batch."""
    meta_steps: int = 12_500
    validate_every: int = 500
    """Meta-steps between validations; the best one is kept."""
    validation_episodes: int = 100
    checkpoint_every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (
            ("tasks", 1), ("meta_steps", 1), ("validate_every", 1), ("validation_episodes", 1),
            ("checkpoint_every", 1), ("seed", 0),
        ):  # fmt: skip
            check_whole(name, getattr(self, name), least)


@dataclass
class Trained:
    """What meta-training gave: the state after the last step, and the best validated parameters."""

    learner: Learner
    state: State
    best: dict[str, Tensor]
    best_accuracy: float
    log: list[dict[str, float]]
    """A row a validation: step, loss, accuracy, validation_accuracy, skipped, seconds."""
    seconds: float

    @property
    def finished(self) -> int:
        """Meta-steps done."""
        return self.state.step


def meta_train(
    learner: Learner,
    source: EpisodeSource,
    plan: Plan,
    folder: Path | None = None,
    max_seconds: float | None = None,
    at: Callable[[int], None] | None = None,
) -> Trained:
    """Meta-train on the source's `train` split, choosing parameters on its `validation` split.

    Goes on from the checkpoint in `folder` if there is one, and stops after `max_seconds` at the
    end of a meta-step, with a checkpoint. `at` is told how many steps are done. Raises
    `InputError` for a source without the classes or images, or another training's checkpoint;
    `Diverged` if nothing is finite any more.
    """
    parts = learner.sources(source)
    for part in parts:
        part.check("train", plan.spec)
    validated = "validation" in source.splits
    if validated:
        source.check("validation", plan.spec)
    found = Trained(learner, learner.init(plan.seed, source.images.device), {}, -1.0, [], 0.0)
    identity = {} if folder is None else _identity(learner, source, plan)
    window = None if folder is None else _restore(found, folder, identity)
    if window is None:
        window = []
        learner.resolve(found.state, parts[0].batch("train", plan.spec, 0, plan.tasks))
        if folder is not None:
            _write(found, folder, identity, window)
    begun, before = time.perf_counter(), found.seconds
    lost = 0
    while found.state.step < plan.meta_steps:
        state = found.state
        first = state.step * plan.tasks
        batches = [part.batch("train", plan.spec, first, plan.tasks) for part in parts]
        epoch = state.step * learner.settings.epochs // plan.meta_steps
        result = learner.meta_step(state, batches, epoch)
        state.step += 1
        lost = 0 if bool(result.finite.any()) else lost + 1
        if lost == plan.validate_every:
            raise Diverged(
                f"no task of the last {lost} meta-steps stayed finite, {state.skipped} were "
                "skipped in all; a smaller inner rate may help"
            )
        window += zip(
            result.losses[result.finite].tolist(),
            result.accuracies[result.finite].tolist(),
            strict=True,
        )
        last = state.step == plan.meta_steps
        found.seconds = before + time.perf_counter() - begun
        if state.step % plan.validate_every == 0 or last:
            _validate(found, source if validated else None, plan, window)
            window = []
        out_of_time = max_seconds is not None and time.perf_counter() - begun > max_seconds
        if folder is not None and (state.step % plan.checkpoint_every == 0 or last or out_of_time):
            _write(found, folder, identity, window)
        if at is not None:
            at(state.step)
        if out_of_time:
            break
    return found


def _validate(
    found: Trained,
    source: EpisodeSource | None,
    plan: Plan,
    window: list[tuple[float, float]],
) -> None:
    """Log, and keep the parameters if they are the best so far."""
    accuracy = float("nan")
    if source is not None:
        meta, count = found.state.meta, plan.validation_episodes
        result = evaluate(found.learner, meta, source, "validation", plan.spec, count)
        accuracy = result.interval.mean
    if source is None or accuracy > found.best_accuracy:
        found.best = {name: value.detach().clone() for name, value in found.state.meta.items()}
        found.best_accuracy = accuracy
    loss, train = np.mean(window, axis=0).tolist() if window else (float("nan"), float("nan"))
    found.log.append(
        {
            "step": found.state.step,
            "loss": loss,
            "accuracy": train,
            "validation_accuracy": accuracy,
            "skipped": found.state.skipped,
            "seconds": round(found.seconds, 3),
        }
    )


def _identity(learner: Learner, source: EpisodeSource, plan: Plan) -> dict[str, Any]:
    """Return what must be equal for a training to go on."""
    told = asdict(plan)
    told.pop("checkpoint_every")
    return {
        "method": type(learner).__name__,
        "settings": asdict(learner.settings),
        "network": {
            "structure": learner.network.structure,
            "shapes": {name: list(shape) for name, shape in learner.network.shapes.items()},
        },
        "source": [source.name, source.seed, source.digest],
        "plan": told,
    }


def _write(
    found: Trained, folder: Path, identity: dict[str, Any], window: list[tuple[float, float]]
) -> None:
    arrays = found.state.arrays()
    arrays |= {_BEST + name: value.cpu().numpy() for name, value in found.best.items()}
    data = {
        "space": SPACE.name,
        "identity": identity,
        "execution": asdict(found.learner.execution),
        "step": found.state.step,
        "skipped": found.state.skipped,
        "best_accuracy": found.best_accuracy,
        "log": found.log,
        "window": window,
        "seconds": found.seconds,
    }
    write_prior(folder, _KIND, _FORMAT, data, arrays)


def _restore(
    found: Trained, folder: Path, identity: dict[str, Any]
) -> list[tuple[float, float]] | None:
    """Take over the checkpoint in `folder` and return its window; None if there is none."""
    if not has_prior(folder):
        return None
    data, arrays = read_prior(folder, _KIND, _FORMAT, SPACE)
    for name, value in identity.items():
        if data["identity"].get(name) != value:
            raise InputError(
                f"checkpoint {str(folder)!r} is of a training with another {name}; accepted: the "
                "same training, or an empty folder"
            )
    best = {n.removeprefix(_BEST): a for n, a in arrays.items() if n.startswith(_BEST)}
    rest = {n: a for n, a in arrays.items() if not n.startswith(_BEST)}
    found.state.restore(rest, data["step"], data["skipped"])
    found.best = {name: torch.from_numpy(np.array(array)) for name, array in best.items()}
    found.best = {n: v.to(found.state.meta[n].device) for n, v in found.best.items()}
    found.best_accuracy = data["best_accuracy"]
    found.log, found.seconds = data["log"], data["seconds"]
    found.learner.execution = Execution(**data["execution"])
    return [(float(loss), float(accuracy)) for loss, accuracy in data["window"]]
