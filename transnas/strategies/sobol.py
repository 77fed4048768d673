"""Quasi-random search: a scrambled Sobol sequence over choices and numbers."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._base import Exhausted, Strategy
from transnas.strategies._draws import packed, unpack, without_ranges
from transnas.strategies._registry import register

__all__ = ["Sobol"]

_BLOCK = 64
_PATIENCE = 10_000


@register("sobol")
class Sobol(Strategy):
    """Points u of a scrambled Sobol sequence; choice d takes allowed value floor(u_d k).

    k counts the values that the mask allows after the prefix, so every architecture can come up.
    Architectures that came up before, or were told, are skipped; `Exhausted` when all were
    tried, or after 10,000 points in a row without a new one.

    Source: Sobol 1967, scrambled by Matousek 1998 (`scipy.stats.qmc.Sobol`). No settings.
    """

    max_objectives = sys.maxsize

    def _begin(self) -> None:
        space = self.space
        dimensions = len(space.choices) + len(space.ranges)
        if not 1 <= dimensions <= 21_201:
            raise InputError(
                f"space {space.name!r} has {dimensions} choices and ranges; "
                "strategy 'sobol' accepts: 1 to 21201"
            )
        self._dimensions = dimensions
        self._limit = None if space.ranges else without_ranges(space).size
        self._seen: set[Architecture] = set()
        self._position = 0
        self._block: npt.NDArray[np.float64] | None = None

    def ask(self) -> Architecture:
        for _ in range(_PATIENCE):
            if len(self._seen) == self._limit:
                break
            arch = self._architecture(self._next_point())
            if arch not in self._seen:
                self._seen.add(arch)
                return arch
        raise Exhausted(f"the Sobol sequence brings nothing new in space {self.space.name!r}")

    def _next_point(self) -> npt.NDArray[np.float64]:
        """Return the next point, [dimensions] in [0, 1)."""
        offset = self._position % _BLOCK
        if self._block is None or offset == 0:
            self._block = self._sequence(self._position - offset)
        self._position += 1
        point: npt.NDArray[np.float64] = self._block[offset]
        return point

    def _sequence(self, start: int) -> npt.NDArray[np.float64]:
        """Return a block of points from number `start` on, [_BLOCK, dimensions]."""
        from scipy.stats import qmc  # takes half a second to import

        rng = np.random.default_rng(self.stream.key)
        engine = qmc.Sobol(self._dimensions, scramble=True, seed=rng)
        if start:
            engine.fast_forward(start)
        return np.asarray(engine.random(_BLOCK), dtype=np.float64)

    def _architecture(self, point: npt.NDArray[np.float64]) -> Architecture:
        values: tuple[int, ...] = ()
        for u in point[: len(self.space.choices)].tolist():
            allowed = np.flatnonzero(self.space.mask(values)).tolist()
            values += (allowed[int(u * len(allowed))],)
        units = point[len(self.space.choices) :].tolist()
        numbers = (r.from_unit(u) for r, u in zip(self.space.ranges, units, strict=True))
        return Architecture(self.space.name, values, tuple(numbers))

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._seen.add(arch)

    def state(self) -> dict[str, Any]:
        return {"position": self._position, "seen": packed(self._seen)}

    def restore(self, state: dict[str, Any]) -> None:
        self._position = state["position"]
        self._block = None
        if self._position % _BLOCK:
            self._block = self._sequence(self._position - self._position % _BLOCK)
        self._seen = {unpack(self.space, a) for a in state["seen"]}
