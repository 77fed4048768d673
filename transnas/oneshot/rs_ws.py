"""Random search with weight sharing: train all paths alike, then score random architectures.

Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._base import Batch, Sampled
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings, require_steady_logits
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["RSWS", "RSWSSettings"]


@dataclass(frozen=True)
class RSWSSettings(Settings):
    """The paper's best setting on CIFAR-10, "Random (5)" (there with 24 channels, 8 cells)."""

    epochs: int = 150
    gradient_clip: float = 1.0
    candidates: int = 1000
    """Random architectures that are scored; the paper takes five such rounds."""
    batches: int = 10
    """Validation batches (of 256) on which each is scored."""
    finalists: int = 10
    """The best of them, scored on the whole validation split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "candidates", "batches", "finalists", least=1)
        require_steady_logits(self)


@register("rs-ws")
class RSWS(Sampled):
    """Derives the best of many random architectures, with the shared weights."""

    Settings = RSWSSettings

    def relaxation(self) -> Relaxation:
        """Return any: every step names its path."""
        return Softmax()

    def train_step(self, batch: Batch) -> None:
        """Move the weights of one architecture, drawn uniformly."""
        self.weights_step(batch, self.uniform())

    def derive(self) -> Architecture:
        """Return the best of the finalists of `candidates` random architectures."""
        s, rng = self.settings, np.random.default_rng([self.seed, 3])
        drawn = [self.space.sample(rng) for _ in range(s.candidates)]
        return self.best(drawn, s.finalists, s.batches)

    def shares(self) -> None:
        """Return None: nothing is learnt of the architecture while the weights are trained."""
        return
