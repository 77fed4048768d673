"""From a source of episodes to a prior: meta-train, and meta-train what tasks decode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from transnas.evaluation.training import workplace
from transnas.meta.few_shot import methods
from transnas.meta.few_shot._execution import Execution
from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.decoding import Diversity, diversity
from transnas.meta.few_shot.derived import decoded_network
from transnas.meta.few_shot.prior import FewShotPrior
from transnas.meta.few_shot.settings import FamilySettings
from transnas.meta.few_shot.training import Diverged, Plan, meta_train
from transnas.networks.few_shot import LOGITS
from transnas.tasks import Signature
from transnas.tasks.episodes import EpisodeSource, EpisodeSpec

__all__ = ["learn", "total_steps"]

_VALIDATIONS = 5
"""Validations in a meta-training."""
_LOOKED_AT = 20
"""Validation tasks whose architectures are compared."""
_SHARED = ("steps", "test_steps", "inner_rate", "outer_rate", "annealed_to", "epochs", "clip")
"""Settings of a search that its recipe for decoded architectures takes over."""


def total_steps(method: str, settings: Mapping[str, Any]) -> int:
    """Return how many meta-steps `learn` will do at most."""
    family, _ = methods.split_settings(method, dict(settings))
    decoded = family.architectures * family.architecture_steps
    return family.meta_steps + decoded * methods.get(method).searches


def learn(
    method: str,
    source: EpisodeSource,
    settings: Mapping[str, Any],
    seed: int = 0,
    folder: Path | None = None,
    at: Callable[[int], None] | None = None,
    device: str = "auto",
    execution: Execution = Execution(),  # noqa: B008 - immutable
) -> FewShotPrior:
    """Meta-train `method` on the source's training classes; the best on its validation classes.

    A search then meta-trains, by its recipe, the `architectures` that validation tasks decode most
    often; a new task chooses among them. Interrupted, it goes on from the checkpoints in `folder`.
    Raises `InputError` for settings, a source or a device that are not accepted, `Diverged` if no
    task stays finite.
    """
    family, own = methods.split_settings(method, dict(settings))
    spec = EpisodeSpec(family.way, family.shot, family.query)
    cls, source = methods.get(method), source.to(workplace(device, "32-true").device)
    network = cls.network_of(Signature(source.input_shape, family.way), family.width)
    learner = cls(network, own, execution)
    recipe = methods.get(cls.recipe)
    shared = recipe.Settings(**{n: getattr(own, n) for n in _SHARED})  # refused before the search
    plan = _plan(family, spec, family.meta_steps, seed)
    done = 0

    def told(step: int) -> None:
        if at is not None:
            at(done + step)

    trained = meta_train(learner, source, plan, _inside(folder, "search"), at=told)
    done = family.meta_steps
    looked = _look(learner, trained.best, source, spec, family.tasks) if cls.searches else None
    frequent = () if looked is None else looked.counts[: family.architectures]
    architectures = tuple(arch for arch, _ in frequent)
    networks = []
    for i, arch in enumerate(architectures):
        decoded = recipe(decoded_network(arch, network), shared, execution)  # type: ignore[arg-type]
        plan = _plan(family, spec, family.architecture_steps, seed)
        found = meta_train(decoded, source, plan, _inside(folder, f"decoded-{i}"), at=told)
        done += family.architecture_steps
        networks.append(found)
    mean, std = source.moments
    return FewShotPrior(
        method=method,
        settings={**asdict(family), **asdict(own)},
        input_shape=source.input_shape,
        mean=tuple(mean.flatten().tolist()),
        std=tuple(std.flatten().tolist()),
        meta={name: value.cpu() for name, value in trained.best.items()},
        architectures=architectures,
        decoded=tuple({n: v.cpu() for n, v in one.best.items()} for one in networks),
        learnt_from={
            "source": source.name,
            "seed": seed,
            "validation_accuracy": trained.best_accuracy,
            "decoded_accuracies": [one.best_accuracy for one in networks],
            "skipped": sum(one.state.skipped for one in (trained, *networks)),
            **({} if looked is None else {"diversity": _told(looked)}),
        },
    )


def _plan(family: FamilySettings, spec: EpisodeSpec, steps: int, seed: int) -> Plan:
    every = max(1, steps // _VALIDATIONS)
    return Plan(spec, family.tasks, steps, every, checkpoint_every=min(every, 50), seed=seed)


def _inside(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / name


def _look(
    learner: Learner,
    meta: dict[str, torch.Tensor],
    source: EpisodeSource,
    spec: EpisodeSpec,
    tasks: int,
) -> Diversity:
    """Compare the architectures of validation tasks, adapting so many `tasks` at once.

    Raises `Diverged` if none of them stays finite.
    """
    split = "validation" if "validation" in source.splits else "train"
    adapted = []
    for first in range(0, _LOOKED_AT, tasks):
        batch = source.batch(split, spec, first, min(tasks, _LOOKED_AT - first))
        adapted.append(learner.adapt(meta, batch.xs, batch.ys)[LOGITS])
    found = diversity(torch.cat(adapted), meta[LOGITS])
    if not found.counts:
        raise Diverged(
            f"none of {_LOOKED_AT} {split} tasks stayed finite in {learner.settings.test_steps} "
            "inner steps; a smaller inner rate may help"
        )
    return found


def _told(looked: Diversity) -> dict[str, Any]:
    """Return the figures of a comparison of architectures, for a file."""
    return {
        "tasks": _LOOKED_AT,
        "diverged": looked.diverged,
        "distinct": looked.distinct,
        "hamming": looked.hamming,
        "moved": looked.moved,
    }
