"""What is common to methods that derive the best of many random architectures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transnas.oneshot._base import Sampled
from transnas.oneshot._settings import Settings, require_steady_logits
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["CandidateSettings", "RandomCandidates"]


@dataclass(frozen=True)
class CandidateSettings(Settings):
    """How many random architectures are scored, and how closely."""

    candidates: int = 1000
    """Random architectures that are scored."""
    batches: int = 10
    """Validation batches (of 256) on which each is scored."""
    finalists: int = 10
    """The best of them, scored on the whole validation split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "candidates", "batches", "finalists", least=1)
        require_steady_logits(self)


class RandomCandidates(Sampled):
    """Derives the best of many random architectures, with the shared weights."""

    Settings = CandidateSettings

    def derive(self) -> Architecture:
        """Return the best of the finalists of `candidates` random architectures."""
        s, rng = self.settings, np.random.default_rng([self.seed, 3])
        drawn = [self.space.sample(rng) for _ in range(s.candidates)]
        return self.best(drawn, s.finalists, s.batches)

    def shares(self) -> None:
        """Return None: nothing is learnt of the architecture while the weights are trained."""
        return
