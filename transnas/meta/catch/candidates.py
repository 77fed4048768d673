"""The candidates of one query: draws from the policy that are new."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.controller import Policy
from transnas.meta.catch.mlp import Parameters
from transnas.strategies import Exhausted
from transnas.strategies._draws import Shuffled

__all__ = ["Candidates", "draw_candidates", "random_network"]

_ROUNDS = 5
_PATIENCE = 20
_SPARE = 4
"""A round draws 1/_SPARE more networks than are needed, because some come up twice."""

Taken = Sequence[set[tuple[int, ...]]]
Uniforms = Callable[[tuple[int, ...], int], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class Candidates:
    """Up to M networks a replicate: codes [R, M, T], log pi [R, M, T], which were drawn from the
    policy and which places are filled, both [R, M]."""

    codes: Codes
    log_policy: torch.Tensor
    sampled: npt.NDArray[np.bool_]
    present: npt.NDArray[np.bool_]


def draw_candidates(
    parameters: Parameters,
    z: torch.Tensor,
    coding: Coding,
    count: int,
    taken: Taken,
    best: Sequence[Codes | None],
    uniforms: Uniforms,
    generator: Callable[[int], np.random.Generator],
) -> Candidates:
    """Return `count` distinct new candidates for each replicate, in the order they were drawn.

    Networks of a class in `taken` and repeats are dropped. After five rounds of draws, neighbours
    of the `best` network fill the rest; with none of these either, one unseen network is drawn
    uniformly. Fewer remain only where the space has no more.
    """
    replicates = len(taken)
    found = Candidates(
        np.zeros((replicates, count, coding.choices), dtype=np.int64),
        torch.zeros((replicates, count, coding.choices), dtype=coding.dtype),
        np.zeros((replicates, count), dtype=np.bool_),
        np.zeros((replicates, count), dtype=np.bool_),
    )
    seen = [set(codes) for codes in taken]
    size = count + -(-count // _SPARE)
    policy = Policy(parameters, z, coding, _ROUNDS * size)
    for attempt in range(_ROUNDS):
        short = np.flatnonzero(~found.present.all(axis=1))
        if not len(short):
            break
        drawn = policy.sample(short, uniforms((size, coding.choices), attempt)[short])
        valid = coding.valid(drawn.codes)
        for i, r in enumerate(short.tolist()):
            filled = int(found.present[r].sum())
            new = _first_new(coding.classes(drawn.codes[i]), valid[i], seen[r], count - filled)
            places = slice(filled, filled + len(new))
            found.codes[r, places] = drawn.codes[i, new]
            found.log_policy[r, places] = drawn.log_policy[
                i, torch.as_tensor(new, dtype=torch.long)
            ]
            found.sampled[r, places] = found.present[r, places] = True
    for r in np.flatnonzero(~found.present.all(axis=1)).tolist():
        _fill(found, r, coding, seen[r], best[r], generator)
    return found


def random_network(
    coding: Coding, taken: set[tuple[int, ...]], rng: np.random.Generator
) -> tuple[int, ...] | None:
    """Return a network from the space's sampling law of a class not `taken`; None if all are."""
    for _ in range(_PATIENCE):
        values = coding.space.sample(rng).values
        if coding.class_of(values) not in taken:
            return values
    order = Shuffled(coding.space, int(rng.integers(1 << 62)))
    try:
        while coding.class_of(values := order.next(set()).values) in taken:
            pass
    except Exhausted:
        return None
    return values


def _first_new(
    rows: Sequence[tuple[int, ...]],
    valid: npt.NDArray[np.bool_],
    seen: set[tuple[int, ...]],
    most: int,
) -> list[int]:
    """Return where a valid and unseen network comes up first; these count as seen from now on."""
    new: list[int] = []
    for i, row in enumerate(rows):
        if len(new) < most and valid[i] and row not in seen:
            seen.add(row)
            new.append(i)
    return new


def _fill(
    found: Candidates,
    r: int,
    coding: Coding,
    seen: set[tuple[int, ...]],
    best: Codes | None,
    generator: Callable[[int], np.random.Generator],
) -> None:
    filled = int(found.present[r].sum())
    around = [] if best is None else coding.space.neighbours(coding.architecture(best.tolist()))
    rows = [a.values for a in around]
    every = np.ones(len(rows), dtype=np.bool_)
    new = _first_new(
        [coding.class_of(row) for row in rows], every, seen, found.codes.shape[1] - filled
    )
    extra = [rows[i] for i in new]
    if filled == 0 and not extra:
        drawn = random_network(coding, seen, generator(r))
        extra = [] if drawn is None else [drawn]
    if extra:
        found.codes[r, filled : filled + len(extra)] = extra
        found.present[r, filled : filled + len(extra)] = True
