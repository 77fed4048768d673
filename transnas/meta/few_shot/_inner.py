"""The inner loop that every method shares: gradient descent on the support, all tasks at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transnas.meta.few_shot._learner import Learner

__all__ = ["Fast", "inner_loop", "starting_point"]

Fast = dict[str, Tensor]
"""Parameters of B tasks, [B, ...] each."""


def starting_point(meta: dict[str, Tensor], tasks: int) -> Fast:
    """Return B copies of the meta-parameters, of which gradients can be asked task by task."""
    return {
        name: value.detach()[None].repeat(tasks, *[1] * value.ndim).requires_grad_()
        for name, value in meta.items()
    }


def inner_loop(
    learner: Learner, start: Fast, xs: Tensor, ys: Tensor, steps: int, second_order: bool
) -> Iterator[Fast]:
    """Yield the fast parameters after each of `steps` steps on the support.

    w^{m+1} = w^m - a grad L(w^m; support), L the mean over a task's examples, so that the
    gradient of the sum over tasks is each task's own. First order treats the inner gradients as
    constants; a gradient of the fast parameters is then, unchanged, one of the meta-parameters.
    """
    fast = dict(start)
    for step in range(steps):
        for names in learner.phases:
            losses = learner.network.loss(learner.outputs(fast, xs, step), ys)
            gradients = torch.autograd.grad(
                losses.sum(), [fast[n] for n in names], create_graph=second_order
            )
            for name, gradient in zip(names, gradients, strict=True):
                fast[name] = fast[name] - learner.rate(fast, name, step) * gradient
        yield dict(fast)
