"""SETN: weights trained on uniform samples, logits on the dense mixture, the best of the likeliest.

Dong & Yang, "One-Shot Neural Architecture Search via Self-Evaluated Template Network", ICCV 2019;
defaults as on NAS-Bench-201 (ICLR 2020).
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np
import torch

from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._base import Batch, Sampled
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["SETN", "SETNSettings"]

_DRAWN = 20
"""Samples from the policy for each candidate to keep, where a space is too large to list."""
_LISTED = 100_000


@dataclass(frozen=True)
class SETNSettings(Settings):
    """As published on NAS-Bench-201."""

    epochs: int = 250
    nesterov: bool = True
    weight_decay: float = 5e-4
    candidates: int = 100
    """Likeliest architectures of which the best is derived."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "candidates", "logits_every", least=1)


@register("setn")
class SETN(Sampled):
    """Derives the best of the likeliest architectures, with the shared weights."""

    Settings = SETNSettings

    def relaxation(self) -> Relaxation:
        """See `Softmax`."""
        return Softmax()

    def train_step(self, batch: Batch) -> None:
        """Move the logits through the whole mixture, and the weights of one uniform sample."""
        s = self.settings
        if self.epoch >= s.logits_from and self.step_of_epoch % s.logits_every == 0:
            self.logits_step(self.held_out.next())
        self.weights_step(batch, self.uniform())

    def present(self) -> Architecture:
        """Return the likeliest architecture."""
        return self.net.derive()

    def derive(self) -> Architecture:
        """Return the best of the likeliest on one batch of validation data."""
        return self.best(self.likeliest(self.settings.candidates), keep=1, batches=1)

    def likeliest(self, count: int) -> list[Architecture]:
        """Return the `count` architectures of largest sum of log softmax(logits).

        Of all, or of samples from the policy where the space is too large to list.
        """
        log_p = self.net.shares().log().numpy()

        def score(arch: Architecture) -> float:
            codes = self.net.codes(arch)
            return float(sum(log_p[row, c] for row, c in enumerate(codes) if c is not None))

        if self.space.size <= _LISTED:
            return heapq.nlargest(count, self.space.architectures(), key=score)
        rng = np.random.default_rng([self.seed, 3])
        noise = rng.gumbel(size=(_DRAWN * count, *log_p.shape))
        drawn = [self.net.discretise(torch.from_numpy(log_p + g).softmax(dim=1)) for g in noise]
        return heapq.nlargest(count, dict.fromkeys([self.net.derive(), *drawn]), key=score)
