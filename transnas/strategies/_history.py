"""What strategies with a model share: what was asked for, what waits, and the results so far."""

from __future__ import annotations

from abc import abstractmethod
from math import isnan
from typing import Any

from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._base import Strategy
from transnas.strategies._draws import Shuffled, pack, packed, unpack

__all__ = ["Remembering"]


class Remembering(Strategy):
    """A strategy that keeps every proposal and, in the order of telling, every finite reward."""

    def _begin(self) -> None:
        self._order = Shuffled(self.space, self.seed)
        self._seen: set[Architecture] = set()
        self._classes: set[Architecture] = set()
        self._pending: list[Architecture] = []
        self._told: list[Architecture] = []
        self._rewards: list[float] = []

    def ask(self) -> Architecture:
        arch = self._next()
        self._see(arch)
        self._pending.append(arch)
        return arch

    @abstractmethod
    def _next(self) -> Architecture:
        """Return the next proposal."""

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._see(arch)
        if arch in self._pending:
            self._pending.remove(arch)
        reward = self.objective.reward(measurement)
        if not isnan(reward):
            self._told.append(arch)
            self._rewards.append(reward)

    def _see(self, arch: Architecture) -> None:
        self._seen.add(arch)
        self._classes.add(self._class(arch))

    def _class(self, arch: Architecture) -> Architecture:
        """Return the representative of what computes the same as `arch`."""
        return self.space.canonical(arch)

    def _is_new(self, arch: Architecture) -> bool:
        return self._class(arch) not in self._classes

    def state(self) -> dict[str, Any]:
        return {
            "stream": self.stream.position,
            "order": self._order.position,
            "seen": packed(self._seen),
            "pending": [pack(a) for a in self._pending],
            "told": [pack(a) for a in self._told],
            "rewards": list(self._rewards),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        self._order.position = state["order"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}
        self._classes = {self._class(a) for a in self._seen}
        self._pending = [unpack(self.space, a) for a in state["pending"]]
        self._told = [unpack(self.space, a) for a in state["told"]]
        self._rewards = list(state["rewards"])
