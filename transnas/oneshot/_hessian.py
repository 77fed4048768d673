"""The dominant eigenvalue of a Hessian, from products with vectors alone (Lanczos)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["dominant_eigenvalue", "hessian_product"]


def hessian_product(loss: Tensor, x: Tensor) -> Callable[[Tensor], Tensor]:
    """Return v -> (d2 loss / dx2) v, by differentiating the gradient once more."""
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)

    def product(v: Tensor) -> Tensor:
        if not gradient.requires_grad:  # a linear loss
            return torch.zeros_like(v)
        (found,) = torch.autograd.grad(gradient, x, v.view_as(x), retain_graph=True)
        return found.flatten()

    return product


def dominant_eigenvalue(
    product: Callable[[Tensor], Tensor], start: Tensor, steps: int = 30
) -> float:
    """Return the largest eigenvalue of a symmetric matrix, from its products with vectors [n].

    Lanczos with full orthogonalisation from `start` [n], exact after n steps; the extreme
    eigenvalues converge first.
    """
    basis = [(start / start.norm()).double()]
    diagonal: list[float] = []
    beside: list[float] = []
    for _ in range(min(steps, len(start))):
        w = product(basis[-1].to(start)).double()
        diagonal.append(float(w @ basis[-1]))
        for q in (*basis, *basis):  # twice is enough
            w = w - (w @ q) * q
        norm = float(w.norm())
        if norm < 1e-10 * max(map(abs, diagonal)) or norm == 0.0:
            break
        beside.append(norm)
        basis.append(w / norm)
    count = len(diagonal)
    matrix = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    for i, value in enumerate(beside[: count - 1]):
        matrix[i, i + 1] = matrix[i + 1, i] = value
    return float(torch.linalg.eigvalsh(matrix)[-1])
