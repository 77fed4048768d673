"""The gradient of the validation loss through one step of the weights (Liu et al., DARTS, 2019).

With w' = w - xi grad_w L_train(w, a), the second-order gradient (equations 7 and 8) is

    grad_a L_val(w', a) - xi  d2 L_train / da dw  v,      v = grad_w' L_val(w', a).

Losses are functions of weights and logits, so that weights are never moved and moved back. On
networks with kinks (ReLU, max-pooling) the finite difference is far from the exact product at
the published step size; on smooth ones they agree to second order in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["PRODUCTS", "Loss", "Product", "exact_product", "finite_difference", "unrolled_gradient"]

Loss = Callable[[Sequence[Tensor], Tensor], Tensor]
"""Weights and logits to a loss []."""
Product = Callable[[Loss, Sequence[Tensor], Tensor, Sequence[Tensor]], Tensor]
"""(loss, w, a, v) -> (d2 loss / da dw) v, of the shape of a."""

_EPSILON = 0.01


def unrolled_gradient(
    train: Loss,
    validation: Loss,
    weights: Sequence[Tensor],
    logits: Tensor,
    *,
    step: float,
    momentum: float = 0.0,
    velocity: Sequence[Tensor | None] = (),
    decay: float = 0.0,
    nesterov: bool = False,
    product: Product,
) -> tuple[Tensor, Tensor]:
    """Return the gradient of the validation loss at w' and that loss [].

    `step` is xi. The virtual step is the optimiser's: w' = w - xi (momentum velocity + grad +
    decay w), with `velocity` as constants; `nesterov` looks ahead by its momentum once more, so
    that the new gradient counts 1 + momentum and the velocity momentum^2.
    """
    ahead, carried = (1 + momentum, momentum**2) if nesterov else (1.0, momentum)
    w = [weight.detach().requires_grad_() for weight in weights]
    a = logits.detach().requires_grad_()
    gradients = _gradients(train(w, a), w)
    moved = []
    for i, (weight, gradient) in enumerate(zip(w, gradients, strict=True)):
        direction = ahead * (gradient + decay * weight.detach())
        if velocity and velocity[i] is not None:
            direction = direction + carried * velocity[i]  # type: ignore[operator]
        moved.append((weight.detach() - step * direction).requires_grad_())
    loss = validation(moved, a)
    direct, *v = _gradients(loss, [a, *moved])
    return direct - step * ahead * product(train, weights, logits, v), loss.detach()


def exact_product(
    loss: Loss, weights: Sequence[Tensor], logits: Tensor, vector: Sequence[Tensor]
) -> Tensor:
    """Return (d2 loss / da dw) v by differentiating grad_w loss . v; twice the memory."""
    w = [weight.detach().requires_grad_() for weight in weights]
    a = logits.detach().requires_grad_()
    gradients = torch.autograd.grad(loss(w, a), w, create_graph=True, allow_unused=True)
    pairs = zip(gradients, vector, strict=True)
    inner = sum((torch.sum(g * v) for g, v in pairs if g is not None), torch.zeros(()).to(a))
    if not inner.requires_grad:  # grad_w does not depend on a
        return torch.zeros_like(a)
    (found,) = torch.autograd.grad(inner, a, allow_unused=True)
    return torch.zeros_like(a) if found is None else found


def finite_difference(
    loss: Loss, weights: Sequence[Tensor], logits: Tensor, vector: Sequence[Tensor]
) -> Tensor:
    """Return (grad_a loss(w + e v) - grad_a loss(w - e v)) / 2 e with e = 0.01 / |v|."""
    norm = torch.sqrt(sum((v.square().sum() for v in vector), torch.zeros(()).to(logits)))
    if norm == 0:
        return torch.zeros_like(logits)
    epsilon = _EPSILON / norm
    a = logits.detach().requires_grad_()
    sides = []
    for sign in (1, -1):
        w = [
            (weight.detach() + sign * epsilon * v)
            for weight, v in zip(weights, vector, strict=True)
        ]
        sides.append(_gradients(loss(w, a), [a])[0])
    return (sides[0] - sides[1]) / (2 * epsilon)


PRODUCTS: dict[str, Product] = {"exact": exact_product, "finite-difference": finite_difference}


def _gradients(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor]:
    """Return d loss / d input for each input; zeros where the loss does not depend on it."""
    found = torch.autograd.grad(loss, inputs, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(inputs, found, strict=True)]
