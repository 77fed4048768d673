"""Level I and II: mu L_k + lambda Omega of one stage, for one batch and one matched set."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from transnas.meta.interleaved.gradient import Weights
from transnas.meta.interleaved.learner import Learner
from transnas.meta.interleaved.matching import Matched
from transnas.meta.interleaved.mmd import Constant
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.meta.interleaved.transfer import TERMS, Side
from transnas.networks.relaxations import Mix

__all__ = ["Objective", "part_of"]


@dataclass
class Objective:
    """What stage t minimises in one step.

    Omega moves the student's encoder only: the teacher is constant, and in a stage the
    architecture too. Where mu is 0, the encoder sees Omega alone and the head its labels.
    """

    learner: Learner
    teacher: Learner | None
    batch: tuple[Tensor, Any]
    matched: Matched | None
    mu: float
    weight: float
    """lambda"""
    settings: InterleaveSettings
    frozen: Mapping[str, Tensor] | None = None
    """The student's weights before the stage, where it is its own teacher."""

    @property
    def transfers(self) -> bool:
        """Whether Omega is part of it."""
        return self.matched is not None

    def frozen_weights(self) -> dict[str, Tensor] | None:
        """Return the frozen weights by the names of `Learner.named_weights`."""
        return None if self.frozen is None else {f"encoder.{n}": w for n, w in self.frozen.items()}

    def stage_loss(self, mix: Mix | None) -> tuple[Tensor, dict[str, Any]]:
        """Return the loss [] at the present weights, and its parts for the record."""
        learner = self.learner
        weights = learner.generated(path=False)
        # The head learns from labels in every stage, its encoder where mu is 1.
        output = learner.output(self.batch, mix, weights, constant=not self.mu)
        loss = learner.kind.loss(output, self.batch[1])
        parts: dict[str, Any] = {"train": loss.detach(), "seconds": 0.0}
        if self.matched is not None and self.teacher is not None:
            started = time.perf_counter()
            omega, logs = self._omega(mix, weights)
            loss = loss + self.weight * omega
            parts |= {"transfer": omega.detach(), **logs}
            parts["seconds"] = time.perf_counter() - started
        return loss, parts

    def _omega(
        self, mix: Mix | None, weights: Mapping[str, Tensor] | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return Omega(w_k; sg(w_prev), sg(alpha), E) and its logs."""
        assert self.teacher is not None
        assert self.matched is not None
        with torch.no_grad():
            teacher_weights = self.frozen or self.teacher.generated(path=False)
            teacher_mix = mix if self.teacher is self.learner else self.teacher.mix(stage=True)
        run = self.teacher.features(teacher_mix, teacher_weights)

        def constant(images: Tensor) -> Tensor:
            with torch.no_grad():
                return run(images)

        term, own, theirs = self.settings.variant.term, dict[str, Tensor](), dict[str, Tensor]()
        if term == "soft":  # the others look at features only
            own = {**self.learner.encoder.cell_weights(), **(weights or {})}
            theirs = {**self.teacher.encoder.cell_weights(), **(teacher_weights or {})}
        student = Side(self.learner.features(mix, weights), own, self.learner.project)
        teacher = Side(constant, {n: w.detach() for n, w in theirs.items()}, self.learner.project)
        return TERMS[term](student, teacher, self.matched, self.settings)

    def inner_loss(
        self, weights: Weights, teacher_weights: Weights | None, at: Weights | None = None
    ) -> Tensor:
        """Return the same loss [] as a function of given weights and of the architecture.

        `at`: weights at which all that gets no gradient is evaluated; None: `weights`.
        """
        learner, mix = self.learner, self.learner.mix()
        own, head = part_of(weights, "encoder"), part_of(weights, "head")
        still = own if at is None else part_of(at, "encoder")
        # Where mu is 0 the head's step depends on alpha, and the encoder's not on the labels.
        encoder = own if self.mu else {n: w.detach() for n, w in still.items()}
        output = learner.output(self.batch, mix, encoder, head, keep_buffers=True)
        loss = learner.kind.loss(output, self.batch[1])
        if teacher_weights is None or not self.transfers:
            return loss
        constant = Tensor.detach if at is None else self._constants(at, teacher_weights, mix)
        return loss + self.weight * self._inner_omega(weights, teacher_weights, mix, constant)

    def _constants(self, at: Weights, teacher_weights: Weights, mix: Mix | None) -> Constant:
        """Return what gives, one after the other, the constants of Omega at other weights."""
        taken: list[Tensor] = []

        def take(value: Tensor) -> Tensor:
            taken.append(value)
            return value

        with torch.no_grad():
            self._inner_omega(at, teacher_weights, mix, take)
        left = iter(taken)
        return lambda _: next(left)

    def _inner_omega(
        self, weights: Weights, teacher_weights: Weights, mix: Mix | None, constant: Constant
    ) -> Tensor:
        """Return Omega [] as a function of given weights and of the architecture."""
        assert self.teacher is not None
        assert self.matched is not None
        learner = self.learner
        own, project = part_of(weights, "encoder"), part_of(weights, "project")
        theirs = part_of(teacher_weights, "encoder")
        cells = learner.encoder.cell_weights()

        def projected(z: Tensor) -> Tensor:
            out: Tensor = torch.func.functional_call(learner.project, project, (z,))
            return out

        student = Side(
            learner.features(mix, own), {n: w for n, w in own.items() if n in cells}, projected
        )
        teacher = Side(self.teacher.features(self.teacher.mix(), theirs), theirs, projected)
        term = TERMS[self.settings.variant.term]
        omega, _ = term(student, teacher, self.matched, self.settings, constant)
        return omega


def part_of(weights: Weights, part: str) -> dict[str, Tensor]:
    """Return the weights of one part by their names in it."""
    prefix = f"{part}."
    return {n[len(prefix) :]: w for n, w in weights.items() if n.startswith(prefix)}
