"""Brackets of successive halving: how many architectures get how many epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from transnas.spaces import Architecture, Space
from transnas.strategies._draws import pack, unpack

__all__ = ["Bracket", "Rung", "brackets", "rungs"]


def rungs(count: int, least: int, most: int, eta: int) -> list[tuple[int, int]]:
    """Return (architectures, epochs) of each rung: floor(n / eta^i) with r eta^i epochs.

    The last rung has `most` epochs; the epochs of those before are `most` divided by eta. No rung
    is empty: with few architectures the best one goes all the way.
    """
    return _rungs(count, halvings(least, most, eta), most, eta)


def brackets(least: int, most: int, eta: int) -> list[list[tuple[int, int]]]:
    """Return the rungs of each bracket of Hyperband, the most aggressive first.

    With s_max halvings from `most` to `least` epochs, bracket s = s_max..0 starts
    ceil((s_max + 1) eta^s / (s + 1)) architectures with most / eta^s epochs.
    """
    steps = halvings(least, most, eta)
    found = []
    for s in range(steps, -1, -1):
        count = math.ceil((steps + 1) * eta**s / (s + 1))
        found.append(_rungs(count, s, most, eta))
    return found


def _rungs(count: int, steps: int, most: int, eta: int) -> list[tuple[int, int]]:
    return [(max(count // eta**i, 1), round(most / eta ** (steps - i))) for i in range(steps + 1)]


def halvings(least: int, most: int, eta: int) -> int:
    """Return how often `most` may be divided by `eta` without falling below `least`."""
    steps = 0
    while most >= least * eta ** (steps + 1):
        steps += 1
    return steps


@dataclass
class Rung:
    """Architectures that were given the same epochs."""

    size: int
    epochs: int
    asked: list[Architecture] = field(default_factory=list)
    rewards: dict[Architecture, float] = field(default_factory=dict)
    """Of those told; -inf for a failure."""

    @property
    def is_done(self) -> bool:
        """Whether everything that this rung is for has been told."""
        return len(self.rewards) >= self.size

    def best(self, count: int) -> list[Architecture]:
        """Return the `count` best that did not fail, the earliest of equals first."""
        good = [a for a in self.asked if self.rewards.get(a, -math.inf) > -math.inf]
        return sorted(good, key=lambda a: -self.rewards[a])[:count]

    def to_json(self) -> list[Any]:
        """Return plain data; failures have no reward."""
        asked = []
        for arch in self.asked:
            reward = self.rewards.get(arch)
            told = arch in self.rewards
            asked.append([pack(arch), told, None if reward == -math.inf else reward])
        return [self.size, self.epochs, asked]

    @classmethod
    def from_json(cls, space: Space, data: list[Any]) -> Rung:
        """Inverse of `to_json`."""
        rung = cls(data[0], data[1])
        for packed, told, reward in data[2]:
            arch = unpack(space, packed)
            rung.asked.append(arch)
            if told:
                rung.rewards[arch] = -math.inf if reward is None else reward
        return rung


class Bracket:
    """Successive halving: a rung's best go to the next one when all of the rung were told."""

    def __init__(self, sizes: list[tuple[int, int]]) -> None:
        self.rungs = [Rung(size, epochs) for size, epochs in sizes]

    @property
    def has_room(self) -> bool:
        """Whether its first rung takes another architecture."""
        return len(self.rungs[0].asked) < self.rungs[0].size

    def promotion(self) -> tuple[Architecture, Rung] | None:
        """Return an architecture that is due for a higher rung, and that rung; None: none is."""
        for below, above in zip(self.rungs, self.rungs[1:], strict=False):
            if not below.is_done:
                return None
            due = below.best(above.size)
            above.size = min(above.size, len(due))  # fewer, if too many failed
            for arch in due:
                if arch not in above.asked:
                    return arch, above
        return None

    def close(self, eta: int) -> None:
        """Take no more architectures: there are none; later rungs shrink with the first."""
        size = len(self.rungs[0].asked)
        for i, rung in enumerate(self.rungs):
            rung.size = min(rung.size, max(size // eta**i, 1))
