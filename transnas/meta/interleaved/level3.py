"""Level III: one step of the architecture on all tasks' normalised validation losses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transnas._checkpoints import optimiser_state, restore_optimiser
from transnas.meta.interleaved.flat import flat, set_gradients
from transnas.meta.interleaved.gradient import Step, finite_difference, unrolled
from transnas.meta.interleaved.learner import Learner
from transnas.meta.interleaved.methods import METHODS
from transnas.meta.interleaved.normalise import Balance, Normaliser, cosines
from transnas.meta.interleaved.objective import part_of
from transnas.meta.interleaved.streams import stream_seed
from transnas.networks.relaxations import Mix, keep_mass

if TYPE_CHECKING:
    from transnas.meta.interleaved.algorithm import Interleaving

__all__ = ["Level3"]


class Level3:
    """g = sum over k of rho_k grad_alpha N_k(L_k), with the kept gradient paths; then Adam."""

    def __init__(self, search: Interleaving) -> None:
        s = search.settings
        self._search = search
        self._two_paths = METHODS[s.method].two_paths and search.fixed is None
        self.normaliser = Normaliser(s.normalise, [x.chance for x in search.learners])
        own = stream_seed(search.seed, "balance")
        self.balance = Balance(s.balance, len(search.learners), s.logits_learning_rate, own)
        self.optimisers = [
            torch.optim.Adam(
                search.learners[group[0]].alpha,
                lr=s.logits_learning_rate,
                betas=METHODS[s.method].betas,
                weight_decay=0.0 if METHODS[s.method].two_paths else s.logits_decay,
            )
            for group in search.groups
            if search.fixed is None
        ]

    def step(self) -> None:
        """Move every architecture (one, unless tasks have their own)."""
        for group, optimiser in zip(self._search.groups, self.optimisers, strict=True):
            active = [x for x in (self._search.learners[k] for k in group) if x.active]
            gradients, losses = {}, {}
            # With two paths a step, all tasks see the same ones, which then keep their mass.
            drawn = active[0].mix() if active and self._two_paths else None
            for learner in active:
                found = self._task_gradient(learner, drawn)
                if found is not None:
                    gradients[learner.k], losses[learner.k] = found
            if not gradients:
                continue
            self._log(gradients)
            # rho_k = 1/K, less for a task that diverged.
            share = {k: self._search.learners[k].factor / len(gradients) for k in gradients}
            joint = self.balance.join(gradients, losses, share)
            alpha = self._search.learners[group[0]].alpha
            set_gradients(alpha, joint)
            before = alpha[0].detach().clone()
            optimiser.step()
            if drawn is not None and drawn.paths is not None:
                keep_mass(alpha[0], before, drawn.paths)

    def _task_gradient(
        self, learner: Learner, drawn: Mix | None = None
    ) -> tuple[Tensor, float] | None:
        """Return grad_alpha N_k [n] and N_k of a validation batch; None for a divergence.

        `drawn` are edge weights for all tasks; None: the task has its own.
        """
        search, s = self._search, self._search.settings
        search.bring(learner)
        images, targets = batch = learner.validation.next()
        step = search.stage_step.step_of(learner.k) if s.paths != "direct" else None
        exact = step is not None and s.hvp == "exact"
        mix = learner.mix() if drawn is None else drawn
        if exact:
            assert step is not None
            weights = unrolled(step, s.chain_depth)
            own, head = part_of(weights, "encoder"), part_of(weights, "head")
            output = learner.output(batch, mix, own, head, keep_buffers=True)
        else:
            generated = learner.generated(path=s.hyper_path)
            output = learner.output(batch, mix, generated, keep_buffers=True)
        loss = learner.kind.loss(output, targets)
        search.cost.validation_passes += 1
        search.cost.images += len(images)
        value = float(loss.detach())
        name = learner.task.name
        if not math.isfinite(value):
            search.strike(learner, f"validation loss {value:.3g}")
            return None
        search.history.add(f"{name}/validation", value)
        search.history.add(f"{name}/score", learner.kind.score(output, targets).detach())
        normal = loss / self.normaliser.divisor(learner.k, loss.detach())
        gradient = (
            self._with_differences(learner, step, normal)
            if step is not None and not exact
            else flat(
                learner.alpha,
                torch.autograd.grad(
                    normal, learner.alpha, allow_unused=True, retain_graph=drawn is not None
                ),
            )
        )
        return self.normaliser.gradient(gradient), float(normal.detach())

    def _with_differences(self, learner: Learner, step: Step, normal: Tensor) -> Tensor:
        """Return the direct term minus xi times the Hessian-vector product, by differences."""
        named = learner.named_weights()
        found = torch.autograd.grad(normal, [*learner.alpha, *named.values()], allow_unused=True)
        direct, by_weights = found[: len(learner.alpha)], found[len(learner.alpha) :]
        direction = {
            n: torch.zeros_like(w) if g is None else g
            for (n, w), g in zip(named.items(), by_weights, strict=True)
        }
        correction = finite_difference(step, direction, learner.alpha)
        return flat(learner.alpha, direct) - flat(learner.alpha, correction)

    def _log(self, gradients: dict[int, Tensor]) -> None:
        search = self._search
        for k, gradient in gradients.items():
            search.history.add(f"{search.tasks[k].name}/gradient", gradient.norm())
        pairs = [(i, j) for i in gradients for j in gradients if i < j]
        for (i, j), cosine in zip(pairs, cosines(list(gradients.values())), strict=True):
            search.history.add(f"cosine {search.tasks[i].name} {search.tasks[j].name}", cosine)

    def state(self) -> dict[str, Any]:
        """Return what later steps depend on."""
        return {
            "normaliser": self.normaliser.state(),
            "balance": self.balance.state(),
            "optimisers": [optimiser_state(o) for o in self.optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.normaliser.restore(state["normaliser"])
        self.balance.restore(state["balance"])
        for optimiser, given in zip(self.optimisers, state["optimisers"], strict=True):
            restore_optimiser(optimiser, given)
