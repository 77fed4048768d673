"""One-shot with path dropout: the whole supernet is trained, and thinned more and more.

Bender et al., "Understanding and Simplifying One-Shot Architecture Search", ICML 2018. Each of the
k operations of an edge is dropped with probability r^(1/k), so that an edge is empty with
probability r whatever its k; r rises linearly from 0. What is kept is summed.
Deviation: one mask a batch (published: one for each 32 images of a batch of 1024).
"""

from __future__ import annotations

from dataclasses import dataclass

from transnas.networks.relaxations import PathDropout, Relaxation
from transnas.oneshot._base import Batch
from transnas.oneshot._random_candidates import CandidateSettings, RandomCandidates
from transnas.oneshot._registry import register
from transnas.strategies.settings import check_range

__all__ = ["PathDropoutSearch", "PathDropoutSettings"]


@dataclass(frozen=True)
class PathDropoutSettings(CandidateSettings):
    """The rate of the paper; the rest, which it leaves open, as DARTS.

    Published: 20,000 `candidates`.
    """

    epochs: int = 150
    dropout: float = 0.1
    """r of the last epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "dropout", least=0, below=1)


@register("one-shot")
class PathDropoutSearch(RandomCandidates):
    """Drops paths of the supernet, ever more, and derives the best of many random architectures."""

    Settings = PathDropoutSettings

    def relaxation(self) -> Relaxation:
        """See `PathDropout`."""
        self.dropping = PathDropout(0.0, self.generator("path dropout"))
        return self.dropping

    def train_step(self, batch: Batch) -> None:
        """Move the weights of the paths that are kept."""
        self.dropping.rate = self.settings.dropout * self.done
        self.weights_step(batch)
