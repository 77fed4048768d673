"""One-shot with path dropout: the whole supernet is trained, and thinned more and more.

Bender et al., "Understanding and Simplifying One-Shot Architecture Search", ICML 2018. Each of the
k operations of an edge is dropped with probability r^(1/k), so that an edge is empty with
probability r whatever its k; r rises linearly from 0. What is kept is summed.
Deviation: one mask a batch (published: one for each 32 images of a batch of 1024).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from transnas.networks.relaxations import PathDropout, Relaxation
from transnas.oneshot._base import Batch, Sampled
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings, require_steady_logits
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["PathDropoutSearch", "PathDropoutSettings"]


@dataclass(frozen=True)
class PathDropoutSettings(Settings):
    """The rate of the paper; the rest, which it leaves open, as DARTS."""

    epochs: int = 150
    dropout: float = 0.1
    """r of the last epoch."""
    candidates: int = 1000
    """Random architectures that are scored (published: 20,000)."""
    batches: int = 10
    """Validation batches (of 256) on which each is scored."""
    finalists: int = 10
    """The best of them, scored on the whole validation split."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "candidates", "batches", "finalists", least=1)
        check_range(self, "dropout", least=0, below=1)
        require_steady_logits(self)


@register("one-shot")
class PathDropoutSearch(Sampled):
    """Derives the best of many random architectures, with the shared weights."""

    Settings = PathDropoutSettings

    def relaxation(self) -> Relaxation:
        """See `PathDropout`."""
        self.dropping = PathDropout(0.0, self.generator("path dropout"))
        return self.dropping

    def train_step(self, batch: Batch) -> None:
        """Move the weights of the paths that are kept."""
        self.dropping.rate = self.settings.dropout * self.done
        self.weights_step(batch)

    def derive(self) -> Architecture:
        """Return the best of the finalists of `candidates` random architectures."""
        s, rng = self.settings, np.random.default_rng([self.seed, 3])
        drawn = [self.space.sample(rng) for _ in range(s.candidates)]
        return self.best(drawn, s.finalists, s.batches)

    def shares(self) -> None:
        """Return None: nothing is learnt of the architecture while the weights are trained."""
        return
