"""Random search without repeats."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Space
from transnas.strategies._base import Strategy
from transnas.strategies._draws import Shuffled, order_key, packed, unpack
from transnas.strategies._registry import register
from transnas.strategies._replicates import register_replicated
from transnas.strategies._stream import keys, permuted

__all__ = ["Random"]


@register("random")
class Random(Strategy):
    """The space in random order: query t is architecture pi(t) of a permutation pi by the seed.

    Uniform over codes (not over isomorphism classes), each at most once; `Exhausted` when all
    were tried. A space that has a sampling law of its own is drawn from by that law.

    Source: Bergstra & Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 2012.
    """

    max_objectives = sys.maxsize

    def _begin(self) -> None:
        self._order = Shuffled(self.space, self.seed)
        self._seen: set[Architecture] = set()

    def ask(self) -> Architecture:
        arch = self._order.next(self._seen)
        self._seen.add(arch)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._seen.add(arch)

    def state(self) -> dict[str, Any]:
        return {"position": self._order.position, "seen": packed(self._seen)}

    def restore(self, state: dict[str, Any]) -> None:
        self._order.position = state["position"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}


@register_replicated("random")
def replicated(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    settings: Any,
) -> npt.NDArray[np.int64]:
    """Random search for many seeds at once; see `Replicated`."""
    result = np.full((len(seeds), queries), -1, dtype=np.int64)
    positions = np.arange(min(queries, space.size), dtype=np.uint64)[None, :]
    order = permuted(order_key(keys(seeds))[:, None], positions, space.size)
    result[:, : positions.shape[1]] = order
    return result
