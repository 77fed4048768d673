"""What a search starts from: learners, what they share, how long it lasts, in which order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from transnas import networks
from transnas.evaluation.training import Batches, deterministic
from transnas.meta.interleaved.encoders import share_architecture
from transnas.meta.interleaved.hyper import ChunkedHyper, FilmHyper, Hyper, generated_names
from transnas.meta.interleaved.kinds import batch_size
from transnas.meta.interleaved.learner import Learner
from transnas.meta.interleaved.methods import METHODS
from transnas.meta.interleaved.order import path, task_distances
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.meta.interleaved.streams import stream_seed
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, Signature

__all__ = [
    "group_architectures",
    "make_hyper",
    "make_learner",
    "own_skeleton",
    "share_encoder",
    "shared_skeleton",
    "similar_path",
    "weight_iterations",
]


def shared_skeleton(tasks: Sequence[DataTask], space: Space) -> dict[str, Any]:
    """Return the skeleton that suits the task with the largest images, for all tasks."""
    largest = max(tasks, key=lambda t: max(t.signature.input_shape[1:]))
    return networks.suggest(space, largest.signature)


def own_skeleton(space: Space, skeleton: Mapping[str, Any], signature: Signature) -> dict[str, Any]:
    """Return the skeleton with a stem of the task's own: of no longer stride than suits its images.

    Only cells are shared, so small and large images go together.
    """
    found = dict(skeleton)
    if "stem_stride" in found:
        suits = networks.suggest(space, signature).get("stem_stride", 1)
        found["stem_stride"] = min(found["stem_stride"], suits)
    return found


def make_learner(
    k: int,
    task: DataTask,
    space: Space,
    architecture: Architecture | None,
    skeleton: Mapping[str, Any],
    settings: InterleaveSettings,
    seed: int,
    device: torch.device,
) -> Learner:
    """Return task k with a supernet (or the network of `architecture`) of its own.

    What is drawn depends on `seed` and the task's name, not on the other tasks.
    """
    own = stream_seed(seed, task.name)
    skeleton = own_skeleton(space, skeleton, task.signature)
    with deterministic(own, device):
        network: nn.Module
        if architecture is not None:
            network = networks.build(space, architecture, task.signature, **skeleton)
        else:
            method, draws = METHODS[settings.method], torch.Generator(device)
            relaxation = method.alpha(draws.manual_seed(stream_seed(own, "relaxation")))
            # The compiled kernel has no second derivative, which unrolled paths need.
            exact = settings.paths != "direct" and settings.hvp == "exact"
            form = networks.Form(
                partial=settings.partial if method.partial else 1,
                normalise_edges=method.partial,
                backend="torch" if exact else "auto",
            )
            network = networks.supernet(space, task.signature, relaxation, form, **skeleton)
        return Learner(k, task, network, settings, seed, device)


def group_architectures(
    learners: Sequence[Learner], settings: InterleaveSettings
) -> list[list[int]]:
    """Return which tasks share an architecture; it starts as that of the first by name."""
    members = [x.k for x in learners]
    if settings.architecture == "separate":
        return [[k] for k in members]
    first = min(members, key=lambda k: learners[k].task.name)
    nets = [x.encoder.network for x in learners]
    alpha = share_architecture(nets[first], [n for k, n in enumerate(nets) if k != first])
    for learner in learners:
        learner.alpha = alpha
    return [members]


def share_encoder(learners: Sequence[Learner]) -> list[nn.Parameter]:
    """Let all learners use the first one's encoder, and return its weights."""
    first = learners[0]
    private = {id(p) for p in (*first.head.parameters(), *first.project.parameters())}
    shared = [p for p in first.private if id(p) not in private]
    first.keep_private()
    for learner in learners[1:]:
        learner.share_encoder(first)
    return shared


def make_hyper(
    learners: Sequence[Learner], settings: InterleaveSettings, seed: int, device: torch.device
) -> Hyper:
    """Return the hypernetwork that generates the kernels of all learners' cells from now on."""
    bases = []
    for learner in learners:
        cells = learner.encoder.cell_weights()
        bases.append({name: cells[name] for name in generated_names(cells)})
    inputs = sum(a.numel() for a in learners[0].alpha)
    hyper: Hyper
    with deterministic(stream_seed(seed, "hypernetwork"), device):
        if settings.hyper == "film":
            hyper = FilmHyper(inputs, len(learners), bases[0], settings.hyper_hidden)
        else:
            size = sum(w.numel() for w in bases[0].values())
            chunk, hidden = settings.hyper_chunk, settings.hyper_hidden
            hyper = ChunkedHyper(inputs, len(learners), size, chunk, hidden)
        hyper.to(device)
    for learner, base in zip(learners, bases, strict=True):
        learner.generate_with(hyper, base)
    return hyper


def weight_iterations(tasks: Sequence[DataTask], settings: InterleaveSettings) -> int:
    """Return the iterations in which weights move: the most batches that a task's epochs have."""
    if settings.iterations is not None:
        return settings.iterations
    here, draws = torch.device("cpu"), torch.Generator()
    sizes = [batch_size(t, settings.batch_size) for t in tasks]
    counts = [len(Batches(t.train, n, here, draws)) for t, n in zip(tasks, sizes, strict=True)]
    return settings.epochs * max(counts)


def similar_path(learners: Sequence[Learner], settings: InterleaveSettings, seed: int) -> list[int]:
    """Return the path of the orders `similar` and `dissimilar`, from the largest task."""
    tasks = [x.task for x in learners]
    if settings.order not in ("similar", "dissimilar"):
        return list(range(len(tasks)))
    start = int(np.argmax([len(t.train) for t in tasks]))  # type: ignore[arg-type]
    distances = task_distances(tasks, learners[start].encoder, tasks[start], seed)
    return path(distances, start, nearest=settings.order == "similar")
