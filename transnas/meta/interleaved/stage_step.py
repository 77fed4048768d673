"""Stages: one task takes weight steps down its own loss, and towards its predecessor."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from transnas.meta.interleaved.encoders import copy_weights
from transnas.meta.interleaved.gradient import Step
from transnas.meta.interleaved.learner import Learner
from transnas.meta.interleaved.objective import Objective
from transnas.meta.interleaved.stages import Stage

if TYPE_CHECKING:
    from transnas.meta.interleaved.algorithm import Interleaving

__all__ = ["StageStep"]


class StageStep:
    """The weight steps of a stage; with paths but `direct`, the last one is kept for level III."""

    def __init__(self, search: Interleaving) -> None:
        self._search, self._settings = search, search.settings
        self._steps: dict[int, Step] = {}
        """The last weight step of each stage of this iteration; for paths but `direct`."""
        self._due = [0] * (self._settings.rounds * len(search.tasks) + 1)

    def step(self, stage: Stage) -> None:
        """Let one task take J steps: down its own loss, and towards its predecessor."""
        learner, teacher = self._search.learners[stage.task], self._teacher(stage)
        self._search.bring(learner, teacher)
        self._initialise(learner, teacher)
        frozen: dict[str, Tensor] | None = None
        if teacher is learner:
            weights = {
                **dict(learner.encoder.named_parameters()),
                **(learner.generated(path=False) or {}),
            }
            frozen = {n: w.detach().clone() for n, w in weights.items()}
        for j in range(self._settings.steps):
            objective = self._objective(stage, learner, teacher, frozen)
            record = self._settings.paths != "direct" and j == self._settings.steps - 1
            start = learner.snapshot() if record else {}
            scale = self._weight_step(stage, learner, objective)
            if record and scale is not None:
                self._record(stage, objective, start, scale)

    def _objective(
        self, stage: Stage, learner: Learner, teacher: Learner | None, frozen: Any
    ) -> Objective:
        """Return mu L_k + lambda Omega for the next batch of stage t."""
        s = self._settings
        batch = learner.train.next()
        self._due[stage.t] += 1
        weight = s.transfer_at((self._search.iteration + 1) / self._search.iterations)
        assert s.match_every is not None
        due = self._due[stage.t] % s.match_every == stage.t % s.match_every
        matched = None
        if teacher is not None and s.variant.term != "none" and due:
            started = time.perf_counter()
            matched = learner.matcher.draw(teacher.task).to(self._search.device)
            self._search.cost.transfer_seconds += time.perf_counter() - started
        mu = 1.0 if stage.t == 1 or s.variant.labels_after_first else 0.0
        return Objective(learner, teacher, batch, matched, mu, weight, s, frozen)

    def _weight_step(self, stage: Stage, learner: Learner, objective: Objective) -> float | None:
        """Move weights down `objective`; return what clipping left, or None for a divergence."""
        with torch.no_grad():
            mix = learner.mix(stage=True)
        loss, parts = objective.stage_loss(mix)
        self._count(objective, parts.pop("seconds"))
        parameters = [*learner.private, *self._search.shared]
        for optimiser in self._optimisers(learner):
            optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self._settings.gradient_clip)
        length, value = float(norm), float(parts["train"])
        if self._diverged(learner, value, length):
            return None
        for optimiser in self._optimisers(learner):
            optimiser.step()
        name = learner.task.name
        self._search.history.add(f"{name}/train/{stage.round}", value)
        if "transfer" in parts:
            self._search.history.add(f"{name}/transfer/{stage.round}", parts.pop("transfer"))
        for key, logged in parts.items():
            if key != "train":
                self._search.history.add(key, logged)
        return min(1.0, self._settings.gradient_clip / (length + 1e-6))

    def _teacher(self, stage: Stage) -> Learner | None:
        if stage.previous is None or not self._search.learners[stage.previous].active:
            return None
        return self._search.learners[stage.previous]

    def _initialise(self, learner: Learner, teacher: Learner | None) -> None:
        """Start from the predecessor's weights where the settings say so."""
        rule = self._settings.init_from
        first, learner.visited = not learner.visited, True
        if teacher is None or teacher is learner or rule == "own":
            return
        if first or rule == "predecessor_always":
            copy_weights(teacher.encoder, learner.encoder)

    def _record(
        self, stage: Stage, objective: Objective, start: dict[str, Tensor], scale: float
    ) -> None:
        """Keep the step that ended stage t as a function of the architecture."""
        learner, teacher = objective.learner, objective.teacher
        previous = self._steps.get(stage.t - 1) if objective.transfers else None
        constant = None
        if objective.transfers and previous is None and teacher is not None:
            constant = objective.frozen_weights() or teacher.snapshot()
        rate = float(learner.optimiser.param_groups[0]["lr"]) * scale
        self._steps[stage.t] = Step(
            start, learner.snapshot(), rate, objective.inner_loss, constant, previous
        )

    def _diverged(self, learner: Learner, loss: float, length: float) -> bool:
        """Record a strike against a task whose loss or gradient is out of bounds."""
        bound = self._settings.divergence * (learner.chance or math.inf)
        if math.isfinite(loss) and math.isfinite(length) and loss <= bound:
            return False
        self._search.strike(learner, f"training loss {loss:.3g}, gradient {length:.3g}")
        return True

    def _count(self, objective: Objective, seconds: float) -> None:
        cost = self._search.cost
        cost.training_passes += 1
        cost.images += len(objective.batch[0])
        cost.transfer_seconds += seconds
        if objective.matched is not None and self._settings.variant.term != "soft":
            cost.student_passes += 1
            cost.teacher_passes += 1
            cost.matched_images += 2 * len(objective.matched.student)

    def _optimisers(self, learner: Learner) -> list[torch.optim.Optimizer]:
        return [o for o in (learner.optimiser, self._search.shared_optimiser) if o is not None]

    def step_of(self, k: int) -> Step | None:
        """Return the last recorded step of task k in this iteration."""
        found = None
        for unit in self._search.units:
            if isinstance(unit, Stage) and unit.task == k and unit.t in self._steps:
                found = self._steps[unit.t]
        return found

    def forget(self) -> None:
        """Drop the recorded steps: an iteration begins."""
        self._steps.clear()

    def state(self) -> list[int]:
        """Return what later steps depend on, when no step is recorded."""
        return list(self._due)

    def restore(self, state: list[int]) -> None:
        """Continue from `state()`."""
        self._due = [int(count) for count in state]
