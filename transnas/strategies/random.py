"""Random search without repeats."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Space
from transnas.strategies._base import Strategy
from transnas.strategies._draws import Shuffled, pack, unpack
from transnas.strategies._registry import register

__all__ = ["Random"]


@register("random")
class Random(Strategy):
    """The space in random order: query t is architecture pi(t) of a permutation pi by the seed.

    Uniform over codes (not over isomorphism classes), each at most once; `Exhausted` when all
    were tried. A space that has a sampling law of its own is drawn from by that law.

    Source: Bergstra & Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012.
    """

    max_objectives = sys.maxsize

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        objectives: Sequence[Objective] = (Objective(),),
        settings: Any = None,
    ) -> None:
        super().__init__(space, seed, objectives, settings)
        self._order = Shuffled(space, seed)
        self._seen: set[Architecture] = set()

    def ask(self) -> Architecture:
        arch = self._order.next(self._seen)
        self._seen.add(arch)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._seen.add(arch)

    def state(self) -> dict[str, Any]:
        seen = sorted(self._seen, key=lambda a: (a.values, a.numbers))
        return {"position": self._order.position, "seen": [pack(a) for a in seen]}

    def restore(self, state: dict[str, Any]) -> None:
        self._order.position = state["position"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}
