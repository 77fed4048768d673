"""Level III: the gradient of validation losses through the weights that the last round made.

A stage's last step is w' = w - xi grad_w (mu L + lambda Omega)(w, alpha, w_{t-1}); what is kept of
dw'/d alpha is one such step (`last`) and, for `chain:P`, the P steps before it, through Omega's
dependence on w_{t-1}. Never kept: what momentum, batches, thresholds and bandwidths owe to alpha.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = ["Loss", "Step", "Weights", "finite_difference", "unrolled"]

Weights = Mapping[str, Tensor]
"""Encoder and head of one task, by name."""


class Loss(Protocol):
    """mu L + lambda Omega [], a function of the student's weights, the teacher's, and alpha.

    `at`: the student's weights where all that gets no gradient is evaluated; None: the same.
    """

    def __call__(
        self, weights: Weights, teacher: Weights | None, at: Weights | None = None, /
    ) -> Tensor: ...


_EPSILON = 0.01
"""Length of the step of finite differences (Liu et al., "DARTS", section 2.3)."""


@dataclass(frozen=True)
class Step:
    """The last weight step of a stage: enough to repeat it as a function of the architecture."""

    start: Weights
    """Weights before the step."""
    after: Weights
    """Weights after the step, momentum and decay included."""
    rate: float
    """xi: learning rate, times what clipping left of the gradient."""
    loss: Loss
    teacher: Weights | None = None
    """Weights of the predecessor, where it has no step recorded; None: no transfer."""
    previous: Step | None = None
    """The predecessor's step; None: its weights are constant."""

    def teacher_at(self, depth: int) -> Weights | None:
        """Return the predecessor's weights, a function of alpha through `depth` more steps."""
        if self.previous is None:
            return self.teacher
        return unrolled(self.previous, depth - 1) if depth > 0 else self.previous.after


def unrolled(step: Step, depth: int = 0) -> dict[str, Tensor]:
    """Return the weights after `step` with their dependence on alpha, `depth` predecessors deep.

    Their value is that of `step.after`, exactly; the derivative is that of the plain step.
    """
    start = {name: w.detach().requires_grad_() for name, w in step.start.items()}
    loss = step.loss(start, step.teacher_at(depth))
    gradients = torch.autograd.grad(
        loss, list(start.values()), create_graph=True, allow_unused=True
    )
    found = {}
    for (name, after), g in zip(step.after.items(), gradients, strict=True):
        value = after.detach()
        found[name] = value if g is None else value + step.rate * (g.detach() - g)
    return found


def finite_difference(step: Step, direction: Weights, alpha: Sequence[Tensor]) -> list[Tensor]:
    """Return xi (d/d alpha) grad_w loss . direction by central differences, one tensor an alpha.

    Off by the jumps of the gradient where activations have kinks, which do not vanish with the
    step's length; for smooth networks it agrees with double backward. What gets no gradient
    stays where it is while the weights move.
    """
    length = torch.sqrt(sum((v * v).sum() for v in direction.values()))  # type: ignore[arg-type]
    epsilon = float(_EPSILON / length.clamp_min(1e-12))
    sides = []
    for sign in (1.0, -1.0):
        moved = {n: w.detach() + sign * epsilon * direction[n] for n, w in step.start.items()}
        loss = step.loss(moved, step.teacher_at(0), step.start)
        sides.append(torch.autograd.grad(loss, list(alpha), allow_unused=True))
    return [
        torch.zeros_like(a) if plus is None else step.rate * (plus - minus) / (2 * epsilon)
        for a, plus, minus in zip(alpha, *sides, strict=True)
    ]
