"""Search by transformations: what was found grows by one transformation after another."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from math import isnan
from typing import Any

from transnas._errors import InputError
from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.spaces.path_level import PathLevel
from transnas.strategies._base import Strategy
from transnas.strategies._draws import Shuffled, pack, packed, unpack
from transnas.strategies._registry import register
from transnas.strategies.settings import check_range

__all__ = ["PathLevelSearch", "PathLevelSettings"]


@dataclass(frozen=True)
class PathLevelSettings:
    """Settings of path-level search."""

    beam: int = 4
    """Best results, of those with transformations left to try, that are transformed further."""

    def __post_init__(self) -> None:
        check_range(self, "beam", least=1)


@register("path-level")
class PathLevelSearch(Strategy):
    """A random transformation of one of the best networks, which keeps its weights.

    The first proposal is the cell before any transformation. Then one of the `beam` best results
    is drawn, and one of its transformations that were not tried. Studies that train measure by
    `Inheriting`: the transformed network begins with its parent's function, so that a few epochs
    tell how good it is. Failed measurements are not transformed. When every result was transformed
    in every way, the rest of the space follows in random order.

    Source: Cai et al., "Path-Level Network Transformation for Efficient Architecture Search", ICML
    2018. Deviation: transformations are drawn, by the paper's random baseline, and not by its
    bidirectional tree-structured controller.
    """

    Settings = PathLevelSettings
    inherits = True

    def _begin(self) -> None:
        if not isinstance(self.space, PathLevel):
            raise InputError(
                f"space {self.space.name!r} has no transformations; strategy 'path-level' accepts: "
                "path-level"
            )
        self._cells = self.space
        self._order = Shuffled(self.space, self.seed)
        self._seen: set[Architecture] = set()
        self._told: dict[Architecture, float] = {}

    def ask(self) -> Architecture:
        arch = self._next()
        self._seen.add(arch)
        return arch

    def _next(self) -> Architecture:
        first = self._cells.at(0)
        if first not in self._seen:
            return first
        ranked = sorted(self._told, key=lambda a: -self._told[a])  # the earliest of equals first
        ways = (self._untried(arch) for arch in ranked or [first])
        beam = list(islice(filter(None, ways), self.settings.beam))
        if not beam:
            return self._order.next(self._seen)
        way = beam[self.stream.below(len(beam))]
        return way[self.stream.below(len(way))]

    def _untried(self, arch: Architecture) -> list[Architecture]:
        return [child for child in self._cells.grown(arch) if child not in self._seen]

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._seen.add(arch)
        reward = self.objective.reward(measurement)
        if not isnan(reward):
            self._told[arch] = reward

    def state(self) -> dict[str, Any]:
        return {
            "stream": self.stream.position,
            "order": self._order.position,
            "seen": packed(self._seen),
            "told": [[pack(arch), reward] for arch, reward in self._told.items()],
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        self._order.position = state["order"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}
        self._told = {unpack(self.space, a): reward for a, reward in state["told"]}
