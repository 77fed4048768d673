"""Progressive search: cells of one block first, then the most promising ways to grow them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError, unknown
from transnas.spaces import Architecture, Space
from transnas.spaces.pnas_growing import GrowingCells
from transnas.strategies._draws import pack, unpack
from transnas.strategies._history import Remembering
from transnas.strategies._registry import register
from transnas.strategies.settings import check_range

__all__ = ["PNAS", "PNASSettings"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Score = Callable[[Tokens], Floats]
"""From the codes of cells [N, 4 b] to how good they are thought to be, [N]."""


@dataclass(frozen=True)
class PNASSettings:
    """Settings of progressive search; defaults as published."""

    beam: int = 256
    """Cells of each size that are tried (of one block: all)."""
    surrogate: Literal["mlp", "lstm"] = "mlp"
    """What predicts: `mlp` or `lstm`."""
    members: int = 5
    """Surrogates in the ensemble."""
    epochs: int = 50
    """Passes of a surrogate over its data (not published)."""

    def __post_init__(self) -> None:
        check_range(self, "beam", "members", "epochs", least=1)
        if self.surrogate not in ("mlp", "lstm"):
            raise unknown("surrogate", self.surrogate, ("mlp", "lstm"))


@register("pnas")
class PNAS(Remembering):
    """Beam search over cells of growing size, led by a surrogate trained on the smaller ones.

    b = 1: every distinct cell of one block is tried. Then, for b = 2, 3, ...: an ensemble is
    trained on all results; every way to add a block to the cells of size b - 1 (to the `beam`
    best of them, if more were tried) is predicted; the `beam` best are tried. What computes the
    same as a cell tried before counts as tried.

    When results of a size are still missing and its beam is used up (many workers), or the largest
    size is done, the next best predictions of that size follow, and then all cells in random
    order. Failed measurements cost a query only. Rewards are scaled to 0.1..0.9 for the
    surrogates, so that any metric serves.

    Source: Liu et al., "Progressive Neural Architecture Search", ECCV 2018. Takes spaces whose
    cells grow (`pnas-growing`).
    """

    Settings = PNASSettings

    def _begin(self) -> None:
        if not isinstance(self.space, GrowingCells):
            raise InputError(
                f"space {self.space.name!r} has no smaller cells to grow from; strategy 'pnas' "
                "accepts: spaces of growing cells (pnas-growing)"
            )
        self._cells = self.space
        super()._begin()
        self._size = 1
        self._queue = list(self._cells.extensions())
        self._queue = [self._queue[i] for i in self._shuffled(len(self._queue))]
        self._beam: list[Architecture] = list(self._queue)
        self._reserve: list[Architecture] = []

    def _shuffled(self, count: int) -> list[int]:
        order: list[int] = self.stream.generator().permutation(count).tolist()
        return order

    def _next(self) -> Architecture:
        found = self._first_new(self._queue)
        if found is None and self._grows():
            self._widen()
            found = self._first_new(self._queue)
        if found is None:
            found = self._first_new(self._reserve)
        return self._order.next(self._seen) if found is None else found

    def _first_new(self, queue: list[Architecture]) -> Architecture | None:
        while queue:
            arch = queue.pop(0)
            if self._is_new(arch):
                return arch
        return None

    def _grows(self) -> bool:
        """Return whether the beam of this size is measured, and there is a larger one."""
        waiting = set(self._pending)
        larger = len(self._cells.block_codes(self._size)) > 0
        return larger and bool(self._told) and not any(a in waiting for a in self._beam)

    def _widen(self) -> None:
        """Go on to cells of one block more: the best predicted of all that the beam grows to."""
        parents = self._best(self._beam, self.settings.beam)
        found = widened(self._cells, parents, self._fit())
        ranked = distinct(self.space, filter(self._is_new, found), 2 * self.settings.beam)
        self._size += 1
        self._beam = ranked[: self.settings.beam]
        self._queue, self._reserve = list(self._beam), ranked[self.settings.beam :]

    def _best(self, cells: Sequence[Architecture], count: int) -> list[Architecture]:
        """Return the `count` best measured; what failed, or was not measured, comes last."""
        reward = dict(zip(self._told, self._rewards, strict=True))
        return sorted(cells, key=lambda a: -reward.get(a, -np.inf))[:count]

    def _fit(self) -> Score:
        """Return the predictions of an ensemble that was trained on all results."""
        from transnas.strategies._cell_surrogates import Ensemble

        rewards = np.array(self._rewards)
        low, high = rewards.min(), rewards.max()
        targets = 0.1 + 0.8 * (rewards - low) / ((high - low) or 1.0)
        sizes = np.array([self._cells.blocks(a) for a in self._told])
        data = []
        for size in sorted(set(sizes.tolist())):
            rows = np.flatnonzero(sizes == size)
            codes = np.array([self._told[i].values[: 4 * size] for i in rows])
            data.append((codes, targets[rows]))
        vocabulary = [len(c.values) for c in self.space.choices]
        ensemble = Ensemble(
            self.settings.surrogate,
            (max(vocabulary[::4]), max(vocabulary[2::4])),
            data,
            members=self.settings.members,
            epochs=self.settings.epochs,
            seed=self.stream.bits() >> 2,
        )
        return ensemble.predict

    def state(self) -> dict[str, Any]:
        lists = {name: [pack(a) for a in getattr(self, f"_{name}")] for name in _LISTS}
        return {**super().state(), "size": self._size, **lists}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        self._size = state["size"]
        for name in _LISTS:
            setattr(self, f"_{name}", [unpack(self.space, a) for a in state[name]])


_LISTS = ("queue", "beam", "reserve")


def widened(
    space: GrowingCells, parents: Sequence[Architecture], score: Score
) -> Iterator[Architecture]:
    """Yield all cells of one block more than `parents` (of one size), the best score first."""
    size = space.blocks(parents[0])
    kept = np.array([a.values[: 4 * size] for a in parents])
    new = space.block_codes(size)
    codes = np.hstack([np.repeat(kept, len(new), axis=0), np.tile(new, (len(kept), 1))])
    for i in np.argsort(-score(codes), kind="stable").tolist():
        yield space.of_blocks(codes[i].tolist())


def distinct(space: Space, archs: Iterator[Architecture], count: int) -> list[Architecture]:
    """Return the first `count` of `archs` that are not isomorphic to an earlier one."""
    found: dict[Architecture, Architecture] = {}
    for arch in archs:
        if len(found) >= count:
            break
        found.setdefault(space.canonical(arch), arch)
    return list(found.values())
