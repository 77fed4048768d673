"""MAML++: Antoniou et al., "How to Train Your MAML", ICLR 2019. Five parts, each a switch.

1. The query loss after every inner step counts, sum_m v_m(e) L(w_i^m; query), with weights that
   move to the last step over `multi_step_epochs` E (the published code): d = 1 / (M E),
   v_m = max(1 / M - e d, 0.03 / M) for m < M, and the last one has the rest. From epoch E on,
   only the last counts.
2. `learnt_rates`: an inner rate a_{l,m} for each parameter tensor l and step m, learnt with w.
3. `first_order_epochs`: meta-gradients are of first order up to there, then as `order` says.
4. `step_norms`: scale and shift of normalisations for each step; learnt, never adapted.
5. `annealed_to`: cosine annealing of the outer rate over `epochs`.

Its sixth part, running statistics of normalisations for each step, is left out: the published code
collects them and never uses them, its output is that of batch statistics.
"""

from __future__ import annotations

import torch
from torch import Tensor

from transnas.meta.few_shot._inner import Fast
from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.methods import register
from transnas.meta.few_shot.settings import MAMLPlusSettings

__all__ = ["MAMLPlus", "multi_step_weights"]

_RATES = "rates."
_FLOOR = 0.03
"""Share of the equal weight 1 / M that every step keeps while several count."""


def multi_step_weights(steps: int, epoch: int, epochs: int) -> list[float]:
    """Return v_1 ... v_M of an epoch; they sum to 1."""
    if epoch >= epochs:
        return [0.0] * (steps - 1) + [1.0]
    early = max(1 / steps - epoch / (steps * epochs), _FLOOR / steps)
    return [early] * (steps - 1) + [1 - (steps - 1) * early]


def _is_norm(name: str) -> bool:
    return name.endswith((".scale", ".shift"))


@register("maml++")
class MAMLPlus(Learner):
    """MAML with the parts that stabilise it."""

    Settings = MAMLPlusSettings
    settings: MAMLPlusSettings

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every step has its normalisations; every adapted parameter has its rates [M]."""
        found = dict(self.network.shapes)
        if self.settings.step_norms:
            for name in filter(_is_norm, self.network.shapes):
                found[name] = (self.settings.steps, *found[name])
        if self.settings.learnt_rates:
            found |= {_RATES + name: (self.settings.steps,) for name in self.phases[0]}
        return found

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        """Return MAML's first value, once for each step; rates start at `inner_rate`."""
        if name.startswith(_RATES):
            return torch.full(self.shapes[name], self.settings.inner_rate)
        value = self.network.draw(name, generator)
        return value.expand(self.shapes[name]).clone()

    def adapts(self, name: str) -> bool:
        """Normalisations of single steps are not adapted."""
        return not (self.settings.step_norms and _is_norm(name))

    def rate(self, params: Fast, name: str, step: int) -> float | Tensor:
        """Return a_{l,m}, [B, 1, ...]; steps beyond the last trained one use that one's."""
        if not self.settings.learnt_rates:
            return self.settings.inner_rate
        rates = params[_RATES + name][:, min(step, self.settings.steps - 1)]
        return rates.reshape(-1, *[1] * (params[name].ndim - 1))

    def seen(self, params: Fast, step: int) -> Fast:
        """Return the parameters with this step's normalisations."""
        if not self.settings.step_norms:
            return params
        at = min(step, self.settings.steps - 1)
        return {n: params[n][:, at] if _is_norm(n) else params[n] for n in self.network.shapes}

    def query_weights(self, epoch: int) -> list[float]:
        """Return the annealed weights of the multi-step loss."""
        return multi_step_weights(self.settings.steps, epoch, self.settings.multi_step_epochs)

    def second_order(self, epoch: int) -> bool:
        """First order at the start."""
        return self.settings.order == 2 and epoch >= self.settings.first_order_epochs
