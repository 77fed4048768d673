"""Reptile: Nichol et al., "On First-Order Meta-Learning Algorithms", 2018.

w <- w + e (mean_i w_i^M - w): no query set and no gradient of it. `outer_rate` is e.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.meta.few_shot._inner import inner_loop, starting_point
from transnas.meta.few_shot._learner import Learner, MetaGradient
from transnas.meta.few_shot.methods import register
from transnas.meta.few_shot.settings import Settings
from transnas.meta.few_shot.state import State
from transnas.tasks.episodes import EpisodeBatch

__all__ = ["Reptile", "ReptileSettings"]


@dataclass(frozen=True)
class ReptileSettings(Settings):
    """MAML's, with the outer rate that goes with whole steps towards the adapted weights."""

    outer_rate: float = 0.3

    def __post_init__(self) -> None:
        Settings.__post_init__(self)
        if self.order != 1:
            raise InputError(
                f"setting 'order' is {self.order!r}; accepted by reptile, which has no gradient "
                "through inner steps: 1"
            )


@register("reptile")
class Reptile(Learner):
    """The outer gradient is w minus the mean of the adapted weights."""

    Settings = ReptileSettings

    def optimisers(self, meta: dict[str, Tensor]) -> dict[str, torch.optim.Optimizer]:
        """Return plain gradient descent."""
        return {"weights": torch.optim.SGD(meta.values(), self.settings.outer_rate)}

    def _chunk_gradient(
        self, state: State, batch: EpisodeBatch, epoch: int, names: Sequence[str]
    ) -> MetaGradient:
        """Adapt on support and query images together, as there is no query loss."""
        xs, ys = torch.cat([batch.xs, batch.xq], 1), torch.cat([batch.ys, batch.yq], 1)
        start = starting_point(state.meta, len(batch))
        fast = start
        for found in inner_loop(self, start, xs, ys, self.settings.steps, second_order=False):
            fast = found
        with torch.no_grad():
            outputs = self.outputs(fast, xs, self.settings.steps - 1)
            losses = self.network.loss(outputs, ys)
            finite = losses.isfinite()
            for name in names:
                finite &= fast[name].flatten(1).isfinite().all(dim=1)
            sums = {name: (start[name] - fast[name])[finite].sum(0) for name in names}
            accuracies = self.network.accuracy(outputs, ys)
        return MetaGradient(sums, losses, accuracies, finite)
