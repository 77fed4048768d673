"""T-NAS: Lian et al., "Towards Fast Adaptation of Neural Architectures with Meta Learning", ICLR
2020: weights w and architecture parameters theta of a supernet are meta-learnt together.

joint (the economical form)    [w_i; theta_i] <- [w_i; theta_i] - eta grad_{w, theta} L(support_i)
alternating (two passes a step)  w_i <- w_i - a grad_w L(theta_i, w_i; support_i), and then
                                 theta_i <- theta_i - b grad_theta L(theta_i, w_i; support_i)
outer  [w; theta] <- Adam(grad_{w, theta} mean_i L(theta_i^M, w_i^M; query_i))

A task's architecture is decoded from theta_i^M by the rule of DARTS. The rate b decides whether
tasks get different architectures at all: logits start at 1e-3 and their gradients are about 0.01,
so that the published default of 3e-4 leaves every task with the same one; the default here is the
30 of the published search script.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from transnas.meta.few_shot._inner import Fast
from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.methods import register
from transnas.meta.few_shot.settings import SearchSettings, TNASSettings
from transnas.networks.few_shot import LOGITS

__all__ = ["TNAS", "search_optimisers"]

_BETAS, _DECAY = (0.5, 0.999), 1e-3
"""Of the optimiser of architecture parameters, from DARTS."""


def search_optimisers(
    meta: dict[str, Tensor], settings: SearchSettings
) -> dict[str, torch.optim.Optimizer]:
    """Return Adam for the weights and DARTS's Adam for the architecture parameters."""
    weights = [value for name, value in meta.items() if name != LOGITS]
    logits = torch.optim.Adam(
        [meta[LOGITS]], settings.outer_logits_rate, betas=_BETAS, weight_decay=_DECAY
    )
    return {"weights": torch.optim.Adam(weights, settings.outer_rate), "logits": logits}


@register("t-nas")
class TNAS(Learner):
    """Weights and architecture both adapt to a task."""

    Settings = TNASSettings
    settings: TNASSettings
    searches = True

    @cached_property
    def phases(self) -> tuple[tuple[str, ...], ...]:
        """All parameters at once, or the weights first and then the logits."""
        names = tuple(self.network.shapes)
        if self.settings.inner == "joint":
            return (names,)
        return tuple(n for n in names if n != LOGITS), (LOGITS,)

    def rate(self, params: Fast, name: str, step: int) -> float | Tensor:
        """Return the rate of the logits, or of the weights."""
        return self.settings.logits_rate if name == LOGITS else self.settings.inner_rate

    def optimisers(self, meta: dict[str, Tensor]) -> dict[str, torch.optim.Optimizer]:
        """Return one optimiser each for weights and logits."""
        return search_optimisers(meta, self.settings)
