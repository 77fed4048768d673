"""Local search with restarts: first improvement and best improvement."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Space
from transnas.strategies._base import Strategy
from transnas.strategies._draws import Shuffled, order_key, pack, packed, unpack
from transnas.strategies._registry import register
from transnas.strategies._replicates import register_replicated
from transnas.strategies._stream import draw_bits, keys, permuted
from transnas.strategies._tables import Neighbourhood, neighbourhood

__all__ = ["BestImprovement", "LocalSearch"]

_STEPS_PER_RANGE = 4
"""Mutants drawn into a neighbourhood for each number range (numbers have no finite list)."""


@register("local-search")
class LocalSearch(Strategy):
    """Climb: try the neighbours in random order, move to the first that improves.

    When all neighbours were tried, start again from a random architecture. Nothing is asked for
    twice: what was told or is under way is skipped, and `Exhausted` is raised when all were
    tried. With several workers a start that is told while another climb goes on takes over only
    if it is better; any told architecture that improves is moved to, asked for or not.

    Source: White, Nolen & Savani, "Exploring the Loss Landscape in Neural Architecture Search",
    UAI 2021 (query until improvement). No settings.
    """

    def _begin(self) -> None:
        self._order = Shuffled(self.space, self.seed)
        self._seen: set[Architecture] = set()
        self._starts: set[Architecture] = set()
        self._queue: list[Architecture] = []
        self._reward = -inf

    def ask(self) -> Architecture:
        while self._queue:
            arch = self._queue.pop()
            if arch not in self._seen:
                break
        else:
            arch = self._order.next(self._seen)
            self._starts.add(arch)
        self._seen.add(arch)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        reward = self.objective.reward(measurement)
        begins = arch in self._starts and not self._queue
        self._seen.add(arch)
        self._starts.discard(arch)
        if not isnan(reward) and (begins or reward > self._reward):
            self._move(arch, reward)

    def _move(self, arch: Architecture, reward: float) -> None:
        """Make `arch` the current one, and queue its neighbours in random order (last first)."""
        self._reward = reward
        options = self.space.neighbours(arch)
        for _ in range(_STEPS_PER_RANGE * len(self.space.ranges)):
            options.append(self.space.mutate(arch, self.stream.generator()))
        keys = [self.stream.bits() for _ in options]
        order = sorted(range(len(options)), key=keys.__getitem__, reverse=True)
        self._queue = [options[i] for i in order]

    def state(self) -> dict[str, Any]:
        return {
            "stream": self.stream.position,
            "position": self._order.position,
            "seen": packed(self._seen),
            "starts": packed(self._starts),
            "queue": [pack(a) for a in self._queue],
            "reward": None if self._reward == -inf else self._reward,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        self._order.position = state["position"]
        self._seen = {unpack(self.space, a) for a in state["seen"]}
        self._starts = {unpack(self.space, a) for a in state["starts"]}
        self._queue = [unpack(self.space, a) for a in state["queue"]]
        self._reward = -inf if state["reward"] is None else state["reward"]


@register("local-search-best")
class BestImprovement(LocalSearch):
    """Climb steepest: try all neighbours, then move to the best of them if it improves."""

    _best: tuple[Architecture, float] | None = None

    def ask(self) -> Architecture:
        self._queue = [a for a in self._queue if a not in self._seen]
        if not self._queue and self._best is not None:
            self._move(*self._best)
        return super().ask()

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        reward = self.objective.reward(measurement)
        # Of a climb that goes on, only the best is left when its queue is empty.
        begins = arch in self._starts and not self._queue and self._best is None
        self._seen.add(arch)
        self._starts.discard(arch)
        if isnan(reward):
            return
        if begins:
            self._move(arch, reward)
        elif reward > (self._best[1] if self._best else self._reward):
            self._best = (arch, reward)

    def _move(self, arch: Architecture, reward: float) -> None:
        self._best = None
        super()._move(arch, reward)

    def state(self) -> dict[str, Any]:
        best = [pack(self._best[0]), self._best[1]] if self._best else None
        return {**super().state(), "best": best}

    def restore(self, state: dict[str, Any]) -> None:
        super().restore(state)
        best = state["best"]
        self._best = (unpack(self.space, best[0]), best[1]) if best else None


class _Climbs:
    """First-improvement climbs of many seeds on one table; row i belongs to seed i."""

    def __init__(self, space: Space, seeds: Sequence[int]) -> None:
        self.near: Neighbourhood = neighbourhood(space)
        self.key = keys(seeds)
        self.rows = np.arange(len(seeds))
        self.used = np.zeros(len(seeds), dtype=np.int64)
        self.position = np.zeros(len(seeds), dtype=np.uint64)
        self.seen = np.zeros((len(seeds), space.size), dtype=np.bool_)
        self.queue = np.full((len(seeds), self.near.table.shape[1]), -1, dtype=np.int64)
        self.reward = np.full(len(seeds), -np.inf)

    def query(self, rewards: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Ask and tell once a seed; return the indices asked for, -1 where exhausted."""
        waiting = (self.queue >= 0) & ~self.seen[self.rows[:, None], self.queue]
        begins = ~waiting.any(axis=1)
        chosen = self.queue[self.rows, waiting.argmax(axis=1)]
        chosen[begins] = self._starts(self.rows[begins])
        asked = chosen >= 0
        self.seen[self.rows[asked], chosen[asked]] = True
        reward = np.where(asked, rewards[chosen], np.nan)
        moves = ~np.isnan(reward) & (begins | (reward > self.reward))
        self.reward[moves] = reward[moves]
        self._requeue(self.rows[moves], chosen[moves])
        result: npt.NDArray[np.int64] = chosen
        return result

    def _starts(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the next architecture in random order that each of `rows` has not seen."""
        found = np.full(len(rows), -1, dtype=np.int64)
        size = self.seen.shape[1]
        open_ = np.arange(len(rows))
        while len(open_ := open_[self.position[rows[open_]] < size]):
            these = rows[open_]
            order = permuted(order_key(self.key[these]), self.position[these], size)
            index = order.astype(np.int64)
            self.position[these] += np.uint64(1)
            fresh = ~self.seen[these, index]
            found[open_[fresh]] = index[fresh]
            open_ = open_[~fresh]
        return found

    def _requeue(self, rows: npt.NDArray[np.int64], archs: npt.NDArray[np.int64]) -> None:
        """Queue the neighbours of `archs` in random order; the rest of each row is -1."""
        columns = np.arange(self.queue.shape[1])
        bits = draw_bits(self.key[rows, None], self.used[rows, None] + columns)
        degree = self.near.degree[archs]
        bits[columns >= degree[:, None]] = np.iinfo(np.uint64).max
        order = bits.argsort(axis=1, kind="stable")
        self.queue[rows] = np.take_along_axis(self.near.table[archs], order, axis=1)
        self.used[rows] += degree


@register_replicated("local-search")
def replicated(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    settings: Any,
) -> npt.NDArray[np.int64]:
    """First-improvement local search for many seeds at once; see `Replicated`."""
    climbs = _Climbs(space, seeds)
    asked = np.empty((len(seeds), queries), dtype=np.int64)
    for query in range(queries):
        asked[:, query] = climbs.query(rewards)
    return asked
