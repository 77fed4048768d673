"""Random search with weight sharing: train all paths alike, then score random architectures.

Li & Talwalkar, "Random Search and Reproducibility for Neural Architecture Search", UAI 2019.
"""

from __future__ import annotations

from dataclasses import dataclass

from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._base import Batch
from transnas.oneshot._random_candidates import CandidateSettings, RandomCandidates
from transnas.oneshot._registry import register

__all__ = ["RSWS", "RSWSSettings"]


@dataclass(frozen=True)
class RSWSSettings(CandidateSettings):
    """The paper's best setting on CIFAR-10, "Random (5)" (there with 24 channels, 8 cells).

    One round of `candidates`; the paper takes five.
    """

    epochs: int = 150
    gradient_clip: float = 1.0


@register("rs-ws")
class RSWS(RandomCandidates):
    """Trains one random architecture a step, and derives the best of many."""

    Settings = RSWSSettings

    def relaxation(self) -> Relaxation:
        """Return any: every step names its path."""
        return Softmax()

    def train_step(self, batch: Batch) -> None:
        """Move the weights of one architecture, drawn uniformly."""
        self.weights_step(batch, self.uniform())
