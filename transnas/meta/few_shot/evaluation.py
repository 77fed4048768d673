"""Accuracy on test episodes after adaptation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.intervals import Interval, class_interval, episode_interval
from transnas.tasks.episodes import EpisodeSource, EpisodeSpec

__all__ = ["EPISODES", "Evaluation", "evaluate"]

EPISODES = 600
"""Size of the published test sets."""
_AT_ONCE = 25
"""Episodes that are drawn together; more of them do not run faster."""


@dataclass(frozen=True)
class Evaluation:
    """What adaptation reached on each episode."""

    accuracies: npt.NDArray[np.float64]
    """Query accuracy [episodes]; of a task that diverged, that of guessing."""
    classes: npt.NDArray[np.int64]
    """[episodes, way]"""
    by_class: npt.NDArray[np.float64]
    """Query accuracy on each class of an episode [episodes, way]."""
    diverged: int
    """Tasks whose adapted parameters or outputs were not finite."""
    seconds: float

    @property
    def interval(self) -> Interval:
        """Mean and 95% interval over episodes."""
        return episode_interval(self.accuracies)

    @property
    def class_interval(self) -> Interval:
        """Mean and 95% interval over test classes."""
        return class_interval(self.classes, self.by_class)


def evaluate(
    learner: Learner,
    meta: dict[str, Tensor],
    source: EpisodeSource,
    split: str,
    spec: EpisodeSpec,
    episodes: int = EPISODES,
    statistics: str = "batch",
    at: Callable[[int], None] | None = None,
) -> Evaluation:
    """Adapt `meta` to each of the first episodes of `split` and measure on its query images.

    Many tasks adapt at once. `at` is told how many episodes are done.
    """
    begun = time.perf_counter()
    accuracies, classes, by_class, diverged = [], [], [], 0
    for first in range(0, episodes, _AT_ONCE):
        batch = source.batch(split, spec, first, min(_AT_ONCE, episodes - first))
        size = learner.tasks_at_once(meta, batch)
        for start in range(0, len(batch), size):
            part = batch[start : start + size]
            fast = learner.adapt(meta, part.xs, part.ys)
            outputs = learner.predict(fast, part.xs, part.xq, statistics)
            finite = outputs.flatten(1).isfinite().all(dim=1)
            diverged += int((~finite).sum())
            right = (outputs.argmax(dim=2) == part.yq).double()
            right[~finite] = 1 / spec.way
            hot = torch.nn.functional.one_hot(part.yq, spec.way).double()
            of_class = torch.einsum("bn,bnw->bw", right, hot) / spec.query
            accuracies.append(right.mean(dim=1))
            by_class.append(of_class)
            classes.append(part.classes)
        if at is not None:
            at(first + len(batch))
    return Evaluation(
        torch.cat(accuracies).cpu().numpy(),
        torch.cat(classes).numpy(),
        torch.cat(by_class).cpu().numpy(),
        diverged,
        time.perf_counter() - begun,
    )
