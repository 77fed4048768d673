"""Where an acquisition is greatest: over numbers, over listed architectures, and over both.

Numbers live in the unit cube. A `Surface` takes rows [N, d] of them and returns [N] values, which
are maximised.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import direct as scipy_direct
from scipy.optimize import minimize
from scipy.stats.qmc import Sobol
from torch import Tensor

from transnas.spaces import Architecture, Space

__all__ = ["Surface", "ascent", "climb", "direct", "exhaustive", "multistart"]

Surface = Callable[[Tensor], Tensor]
Vector = npt.NDArray[np.float64]
Scored = tuple[float, Architecture]

_RAW, _REFINED, _STEPS = 512, 5, 25
"""Sobol points that are looked at, how many of them are refined, and by how many steps."""
_ASCENT = 8
"""Steps of one `ascent`."""
_EVALUATIONS = 500
"""Points that DIRECT may look at, a dimension."""
_BLOCK = 4096
"""Rows that are scored at once; bounds memory."""


def direct(surface: Surface, dimensions: int) -> Vector:
    """Return the maximiser that DIRECT finds, [dimensions]; deterministic, without gradients.

    Source: Jones, Perttunen & Stuckman, 1993, locally biased as by Gablonsky & Kelley, 2001
    (`scipy.optimize.direct`).
    """

    def negative(u: Vector) -> float:
        with torch.no_grad():
            return -float(surface(torch.from_numpy(np.asarray(u))[None])[0])

    found = scipy_direct(
        negative, [(0.0, 1.0)] * dimensions, maxfun=_EVALUATIONS * dimensions, maxiter=1000
    )
    best: Vector = found.x
    return best


def multistart(
    surface: Surface, dimensions: int, seed: int, starts: Tensor | None = None
) -> Vector:
    """Return the best maximum that L-BFGS reaches from several points, [dimensions].

    It starts from the best of 512 scrambled Sobol points and of `starts` [n, dimensions]. The
    climbs are independent, so they run as one of the sum of their values.
    """
    sobol = Sobol(dimensions, scramble=True, seed=np.random.default_rng(seed))
    points = torch.from_numpy(sobol.random(_RAW))
    if starts is not None:
        points = torch.cat([starts, points])
    with torch.no_grad():
        begin = points[surface(points).topk(_REFINED).indices]
    return ascent(surface, begin, _STEPS)


def ascent(surface: Surface, begin: Tensor, steps: int = _ASCENT) -> Vector:
    """Return the best maximum that L-BFGS reaches from the points `begin` [n, d], [d]."""

    def negative(flat: Vector) -> tuple[float, Vector]:
        u = torch.from_numpy(flat).reshape(begin.shape).requires_grad_()
        total = -surface(u).sum()
        (gradient,) = torch.autograd.grad(total, u)
        return float(total.detach()), np.nan_to_num(gradient.numpy().reshape(-1))

    found = minimize(
        negative,
        begin.numpy().reshape(-1),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, 1.0)] * begin.numel(),
        options={"maxiter": steps},
    )
    ends = torch.cat([torch.from_numpy(found.x).reshape(begin.shape), begin])
    with torch.no_grad():
        best: Vector = ends[surface(ends).argmax()].numpy()
    return best


def exhaustive(surface: Surface, rows: Tensor, free: npt.NDArray[np.bool_]) -> int | None:
    """Return the free row of greatest value, the first of equals; None if no row is free."""
    if not free.any():
        return None
    with torch.no_grad():
        blocks = [surface(block) for block in torch.split(rows, _BLOCK)]
        values = torch.cat(blocks).numpy()
    return int(np.where(free, np.nan_to_num(values, nan=-np.inf), -np.inf).argmax())


def climb(
    space: Space,
    score: Callable[[Sequence[Architecture]], Sequence[float]],
    improve: Callable[[Architecture], Architecture],
    starts: Sequence[Architecture],
    allowed: Callable[[Architecture], bool],
    steps: int = 10,
) -> Architecture | None:
    """Return the best allowed architecture that steepest ascent over `neighbours` meets.

    After each step `improve` may move the numbers of the architecture (coordinate ascent between
    choices and numbers). None if no architecture was allowed.
    """
    best: Scored | None = None

    def consider(archs: Sequence[Architecture]) -> list[Scored]:
        nonlocal best
        scored = list(zip(score(archs), archs, strict=True))
        for value, arch in scored:
            if (best is None or value > best[0]) and allowed(arch):
                best = (value, arch)
        return scored

    for value, arch in consider(list(starts)):
        for _ in range(steps):
            moved = improve(arch)
            options = [moved, *space.neighbours(moved)] if moved != arch else space.neighbours(arch)
            if not options:
                break
            above, highest = max(consider(options), key=lambda pair: pair[0])
            if not above > value:
                break
            value, arch = above, highest
    return None if best is None else best[1]
