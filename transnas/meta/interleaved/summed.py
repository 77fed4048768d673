"""Joint multi-task training, which interleaving is compared with: one step on all losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transnas.meta.interleaved.flat import flat, set_gradients
from transnas.meta.interleaved.normalise import Balance
from transnas.meta.interleaved.streams import stream_seed

if TYPE_CHECKING:
    from transnas.meta.interleaved.algorithm import Interleaving

__all__ = ["SummedStep"]


class SummedStep:
    """One step of the shared encoder on the tasks' joint gradient, and of each head on its own.

    The gradients are joined as the settings' `balance` says; with `equal` the step is that of the
    mean loss.
    """

    def __init__(self, search: Interleaving) -> None:
        self._search = search
        s = search.settings
        own = stream_seed(search.seed, "summed")
        self.balance = Balance(s.balance, len(search.learners), s.learning_rate, own)

    def step(self, round_: int) -> None:
        """Take the step of one round."""
        search = self._search
        gradients: dict[int, Tensor] = {}
        losses: dict[int, float] = {}
        for learner in search.learners:
            if not learner.active:
                continue
            images, targets = batch = learner.train.next()
            with torch.no_grad():
                mix = learner.mix(stage=True)
            loss = learner.kind.loss(learner.output(batch, mix), targets)
            search.cost.training_passes += 1
            search.cost.images += len(images)
            value = float(loss.detach())
            found = torch.autograd.grad(loss, [*search.shared, *learner.private], allow_unused=True)
            if not math.isfinite(value) or not all(
                g is None or bool(g.isfinite().all()) for g in found
            ):
                search.strike(learner, f"training loss {value:.3g}")
                continue
            search.history.add(f"{learner.task.name}/train/{round_}", value)
            gradients[learner.k] = flat(search.shared, found[: len(search.shared)])
            losses[learner.k] = value / (learner.chance or 1.0)
            for p, g in zip(learner.private, found[len(search.shared) :], strict=True):
                p.grad = g
            torch.nn.utils.clip_grad_norm_(learner.private, search.settings.gradient_clip)
            learner.optimiser.step()
        if gradients and search.shared_optimiser is not None:
            share = {k: search.learners[k].factor / len(gradients) for k in gradients}
            set_gradients(search.shared, self.balance.join(gradients, losses, share))
            torch.nn.utils.clip_grad_norm_(search.shared, search.settings.gradient_clip)
            search.shared_optimiser.step()

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on."""
        return self.balance.state()

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.balance.restore(state)
