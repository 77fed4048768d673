"""Grid search: every architecture in the order of the space's index."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._base import Exhausted, Strategy
from transnas.strategies._draws import packed, unpack, without_ranges
from transnas.strategies._registry import register
from transnas.strategies.settings import check_range

__all__ = ["Grid", "GridSettings"]


@dataclass(frozen=True)
class GridSettings:
    """Settings of grid search."""

    levels: int = 5
    """Values tried of each number range, evenly spaced on its (log) scale, ends included."""

    def __post_init__(self) -> None:
        check_range(self, "levels", least=1)


@register("grid")
class Grid(Strategy):
    """Every code sequence in index order, each with every combination of number levels.

    The seed has no influence. What was told without being asked for is skipped; `Exhausted`
    after the last point.
    """

    Settings = GridSettings
    max_objectives = sys.maxsize

    def _begin(self) -> None:
        self._codes = without_ranges(self.space)
        self._told: set[Architecture] = set()
        self._position = 0

    def ask(self) -> Architecture:
        combinations: int = self.settings.levels ** len(self.space.ranges)
        while self._position < self._codes.size * combinations:
            point, numbers = divmod(self._position, combinations)
            self._position += 1
            arch = Architecture(
                self.space.name, self._codes.at(point).values, self._numbers(numbers)
            )
            if arch not in self._told:
                return arch
        raise Exhausted(f"the whole grid of space {self.space.name!r} was tried")

    def _numbers(self, combination: int) -> tuple[float, ...]:
        """Return the numbers whose levels are the digits of `combination`."""
        levels, numbers = self.settings.levels, []
        for r in self.space.ranges:
            combination, level = divmod(combination, levels)
            numbers.append(r.from_unit(level / (levels - 1) if levels > 1 else 0.5))
        return tuple(numbers)

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._told.add(arch)

    def state(self) -> dict[str, Any]:
        return {"position": self._position, "told": packed(self._told)}

    def restore(self, state: dict[str, Any]) -> None:
        self._position = state["position"]
        self._told = {unpack(self.space, a) for a in state["told"]}
