"""ANIL: Raghu et al., "Rapid Learning or Feature Reuse?", ICLR 2020: MAML that adapts the head."""

from __future__ import annotations

from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.methods import register
from transnas.networks.few_shot import HEAD

__all__ = ["ANIL"]


@register("anil")
class ANIL(Learner):
    """The inner loop changes the last layer only; the outer loop learns all of the network."""

    def adapts(self, name: str) -> bool:
        """Adapt the head."""
        return name.startswith(HEAD)
