"""Running statistics of normalisations, kept while query images pass in meta-training."""

from __future__ import annotations

import torch
from torch import Tensor

from transnas.networks.few_shot import RecordedStatistics

__all__ = ["Recorder"]

_MOMENTUM = 0.1


class Recorder(RecordedStatistics):
    """Moves the mean and variance [C] of each layer towards those of the tasks that pass."""

    def __init__(self, kept: dict[str, tuple[Tensor, Tensor]]) -> None:
        super().__init__()
        self.kept = kept

    def __call__(
        self, name: str, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None
    ) -> Tensor:
        """See `Norm`."""
        out = super().__call__(name, x, scale, shift)
        tasks = 1 if scale is None else len(scale)
        mean, variance = (moment.view(tasks, -1).mean(0) for moment in self.found[name])
        if not bool(torch.isfinite(mean).all() and torch.isfinite(variance).all()):
            return out
        if name not in self.kept:
            self.kept[name] = mean, variance
            return out
        old_mean, old_variance = self.kept[name]
        self.kept[name] = (
            torch.lerp(old_mean, mean, _MOMENTUM),
            torch.lerp(old_variance, variance, _MOMENTUM),
        )
        return out
