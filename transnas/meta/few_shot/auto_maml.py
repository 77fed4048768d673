"""Auto-MAML: DARTS with MAML inside, one architecture for all tasks (Lian et al., ICLR 2020).

The images of every meta-training class are halved. A meta-step does, in this order:
theta  episodes of the one half: adapt w on the support, theta fixed;
       theta <- Adam(mean_i grad_theta L(theta, w_i^M; query_i)), first order
w      episodes of the other half: w <- Adam(mean_i grad_w L(theta, w_i^M; query_i)), as FOMAML

Deviation from the published code, whose theta gradient is wrong twice: it puts w back before the
query loss is differentiated, and adds the gradients of the support losses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transnas.meta.few_shot._learner import Learner, MetaGradient
from transnas.meta.few_shot.methods import register
from transnas.meta.few_shot.settings import SearchSettings
from transnas.meta.few_shot.state import State
from transnas.meta.few_shot.tnas import search_optimisers
from transnas.networks.few_shot import LOGITS
from transnas.tasks.episodes import EpisodeBatch, EpisodeSource

__all__ = ["AutoMAML", "AutoMAMLSettings"]


@dataclass(frozen=True)
class AutoMAMLSettings(SearchSettings):
    """Those of the published script."""

    outer_logits_rate: float = 3e-4


@register("auto-maml")
class AutoMAML(Learner):
    """Only weights adapt to a task; architecture parameters belong to the outer problem."""

    Settings = AutoMAMLSettings
    settings: AutoMAMLSettings
    searches = True

    def adapts(self, name: str) -> bool:
        """Adapt weights."""
        return name != LOGITS

    def optimisers(self, meta: dict[str, Tensor]) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser each for weights and logits."""
        return search_optimisers(meta, self.settings)

    def sources(self, source: EpisodeSource) -> tuple[EpisodeSource, ...]:
        """Return the halves of the training images: for logits, and for weights."""
        return source.halves("train")

    def meta_step(self, state: State, batches: Sequence[EpisodeBatch], epoch: int) -> MetaGradient:
        """Change the logits, then the weights."""
        for_logits, for_weights = batches
        found = self.meta_gradient(state, for_logits, epoch, (LOGITS,))
        self.update(state, found, epoch)
        weights = tuple(name for name in state.meta if name != LOGITS)
        found = self.meta_gradient(state, for_weights, epoch, weights)
        self.update(state, found, epoch)
        return found
