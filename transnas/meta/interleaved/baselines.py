"""What interleaving is compared with, each at equal cost: the same number of images seen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from transnas import networks
from transnas._errors import InputError
from transnas.evaluation._counting import parameters
from transnas.meta.interleaved.algorithm import Interleaving, Progress
from transnas.meta.interleaved.history import Cost
from transnas.meta.interleaved.kinds import batch_size
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.meta.interleaved.setup import weight_iterations
from transnas.meta.interleaved.streams import stream_seed
from transnas.spaces import Architecture, Space
from transnas.spaces._cells import Block
from transnas.spaces.darts import DARTS
from transnas.spaces.proxyless import ProxylessNAS
from transnas.tasks import DataTask, Signature
from transnas.tasks._resized import require_resizable, resized

__all__ = [
    "BASELINES",
    "Found",
    "Problem",
    "alone",
    "check_baselines",
    "handmade",
    "interleaved",
    "summed",
]


@dataclass(frozen=True)
class Problem:
    """What every method is given."""

    tasks: Sequence[DataTask]
    space: Space
    settings: InterleaveSettings
    skeleton: Mapping[str, Any]
    """Of the supernets."""
    final_skeleton: Mapping[str, Any]
    """Of the networks of phase 2."""
    seed: int = 0
    device: str = "auto"
    progress: Progress | None = None

    @property
    def largest(self) -> DataTask:
        """The task with the most training images, the first of equals."""
        return max(self.tasks, key=lambda t: len(t.train))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Found:
    """What a method decided: an architecture for each task, and what that took."""

    architectures: Sequence[Architecture]
    """One a task, in the tasks' order."""
    cost: Cost = field(default_factory=Cost)
    skeleton: Mapping[str, Any] | None = None
    """Of the networks of phase 2, where it is not the problem's."""
    searches: Sequence[Interleaving] = ()


def interleaved(problem: Problem, **changes: Any) -> Found:
    """Search with the problem's settings, with `changes`."""
    search = _search(problem, problem.tasks, replace(problem.settings, **changes))
    return Found([search.derive(k) for k in range(len(problem.tasks))], search.cost, None, [search])


def separate(problem: Problem, _: Architecture) -> Found:
    """Search by itself on each task, with the same images of each task."""
    settings = alone(problem, 1)
    searches = [_search(problem, [task], settings) for task in problem.tasks]
    return Found([s.derive() for s in searches], _total([s.cost for s in searches]), None, searches)


def joint(problem: Problem, _: Architecture) -> Found:
    """Search on the sum of all losses with one encoder: multi-task without interleaving.

    Tasks of fewer channels than others are brought to as many.
    """
    channels = max(map(_channels, problem.tasks))
    tasks = [
        resized(t, _side(t), channels) if _channels(t) < channels else t for t in problem.tasks
    ]
    search = _search(problem, tasks, summed(problem.settings))
    return Found([search.derive()] * len(tasks), search.cost, None, [search])


def transferred(problem: Problem, _: Architecture) -> Found:
    """Search on the largest task alone, with all the images, and use what is found for all."""
    sizes = {t.name: batch_size(t, problem.settings.batch_size) for t in problem.tasks}
    share = sum(sizes.values()) / sizes[problem.largest.name]
    search = _search(problem, [problem.largest], alone(problem, share))
    return Found([search.derive()] * len(problem.tasks), search.cost, None, [search])


def random(problem: Problem, _: Architecture) -> Found:
    """Draw one architecture for all tasks."""
    rng = np.random.default_rng(stream_seed(problem.seed, "random architecture"))
    return Found([problem.space.sample(rng)] * len(problem.tasks))


def by_hand(problem: Problem, found: Architecture) -> Found:
    """Take a known design, as wide as makes it as large as the interleaved network."""
    arch = handmade(problem.space)
    signature = problem.tasks[0].signature
    target = _parameters(problem.space, found, signature, problem.final_skeleton)
    width = problem.final_skeleton.get("channels")
    skeleton = dict(problem.final_skeleton)
    if isinstance(width, int):
        sizes = {
            w: _parameters(problem.space, arch, signature, {**skeleton, "channels": w})
            for w in range(1, 4 * width + 1)
        }
        skeleton["channels"] = min(sizes, key=lambda w: abs(sizes[w] - target))
    return Found([arch] * len(problem.tasks), Cost(), skeleton)


BASELINES: Mapping[str, Callable[[Problem, Architecture], Found]] = {
    "separate": separate,
    "joint": joint,
    "transferred": transferred,
    "random": random,
    "by hand": by_hand,
}
"""Name to (problem, the interleaved search's architecture) -> what the baseline decides."""


def check_baselines(tasks: Sequence[DataTask], space: Space) -> None:
    """Raise `InputError` unless every baseline takes this space and these tasks of images."""
    handmade(space)
    channels = max(map(_channels, tasks))
    for task in tasks:
        try:
            if _channels(task) < channels:
                require_resizable(task, _side(task), channels)
        except InputError as error:
            raise InputError(
                f"baselines with one encoder need task {task.name!r} in {channels} channels, but "
                f"{error}"
            ) from error


def _channels(task: DataTask) -> int:
    return task.signature.input_shape[0]


def _side(task: DataTask) -> int:
    return max(task.signature.input_shape[1:])


_HANDMADE = {
    "nasbench201": "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|",
}
"""Known designs: in NAS-Bench-201 the residual block (Dong & Yang, ICLR 2020)."""


def handmade(space: Space) -> Architecture:
    """Return a known design of the space; raises `InputError` where there is none here."""
    if space.name in _HANDMADE:
        return space.from_text(_HANDMADE[space.name])
    if isinstance(space, DARTS) and space.name == "darts":
        return space.from_blocks({kind: _blocks(text) for kind, text in _DARTS_V2.items()})
    if isinstance(space, ProxylessNAS):
        return space.architecture([c.values.index("mb6_k3") for c in space.choices])
    raise InputError(
        f"space {space.name!r} has no known design here; accepted: darts, nasbench201, proxyless"
    )


_DARTS_V2 = {
    "normal": "sep_conv_3x3 0 sep_conv_3x3 1 sep_conv_3x3 0 sep_conv_3x3 1 "
    "skip_connect 0 sep_conv_3x3 1 skip_connect 0 dil_conv_3x3 2",
    "reduce": "max_pool_3x3 0 max_pool_3x3 1 max_pool_3x3 1 skip_connect 2 "
    "max_pool_3x3 0 skip_connect 2 max_pool_3x3 1 skip_connect 2",
}
"""The second-order cells of Liu et al., "DARTS" (ICLR 2019): operation and source, in pairs."""


def _blocks(text: str) -> list[Block]:
    words = text.split()
    edges = [(int(source), name) for name, source in zip(words[::2], words[1::2], strict=True)]
    return [Block((a, b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _search(
    problem: Problem, tasks: Sequence[DataTask], settings: InterleaveSettings
) -> Interleaving:
    search = Interleaving(
        tasks,
        problem.space,
        settings,
        skeleton=problem.skeleton,
        seed=problem.seed,
        device=problem.device,
    )
    search.run(problem.progress)
    return search


def summed(settings: InterleaveSettings) -> InterleaveSettings:
    """Return the settings of joint search: one encoder, one step on the sum of all losses."""
    return replace(
        settings,
        preset="hard",
        updates="summed",
        rounds=_weight_steps(settings),
        steps=1,
        transfer_weight=0.0,
        hyper="off",
        paths="direct",
        init_from="own",
        architecture="shared",
        offload=False,
    )


def alone(problem: Problem, share: float) -> InterleaveSettings:
    """Return plain single-task settings in which `share` times a task's batches are seen.

    Interleaving sees M J + 1 batches of a task in an iteration, a plain search 2; while the
    architecture rests (`warmup`) one less each.
    """
    s = problem.settings
    posthoc = s.alpha_schedule == "posthoc"  # which knows no warm-up
    warmup = 0.0 if posthoc else s.warmup
    batches = (_weight_steps(s) + 1 - warmup) / (2 - warmup)
    return replace(
        s,
        preset="none",
        updates="interleaved",
        transfer_weight=0.0,
        rounds=1,
        steps=1,
        iterations=max(1, round(share * weight_iterations(problem.tasks, s) * batches)),
        hyper="off",
        paths="direct",
        init_from="own",
        alpha_schedule="interleaved",
        warmup=warmup,
        order="fixed",
        architecture="shared",
    )


def _weight_steps(settings: InterleaveSettings) -> int:
    """Return how many training batches of a task an iteration takes."""
    return settings.rounds * (settings.steps if settings.updates == "interleaved" else 1)


def _total(costs: Sequence[Cost]) -> Cost:
    total = Cost()
    for cost in costs:
        for name in ("training_passes", "validation_passes", "student_passes", "teacher_passes",
                     "images", "matched_images", "seconds", "transfer_seconds"):  # fmt: skip
            setattr(total, name, getattr(total, name) + getattr(cost, name))
        total.task_seconds.update(cost.task_seconds)
    return total


def _parameters(
    space: Space, arch: Architecture, signature: Signature, skeleton: Mapping[str, Any]
) -> int:
    with torch.device("meta"):
        return parameters(networks.build(space, arch, signature, **skeleton))
