"""Functions with known optima on spaces of numbers and choices, to try searches on."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from transnas.evaluation import Cost, Measurement, Objective
from transnas.spaces import Architecture, Choice, Range, Space
from transnas.strategies import Strategy

__all__ = [
    "SCORE",
    "Branin",
    "Function",
    "Hartmann6",
    "MixedToy",
    "anytime",
    "branin",
    "hartmann6",
    "mixed_toy",
    "play",
]

SCORE = (Objective("score"),)
Function = Callable[[Architecture], float]


class Branin(Space):
    """Two numbers."""

    name = "branin"
    choices = ()
    ranges = (Range("x", -5.0, 10.0), Range("y", 0.0, 15.0))


def branin(arch: Architecture) -> float:
    """Return minus the Branin-Hoo function, 0.397887 added: greatest value 0, at three points."""
    x, y = arch.numbers
    bowl = (y - 5.1 * x**2 / (4 * math.pi**2) + 5 * x / math.pi - 6) ** 2
    return 0.397887 - bowl - 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) - 10


class Hartmann6(Space):
    """Six numbers in 0..1."""

    name = "hartmann6"
    choices = ()
    ranges = tuple(Range(f"x{i}", 0.0, 1.0) for i in range(6))


_A = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14],
               [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])  # fmt: skip
_P = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                      [2348, 1451, 3522, 2883, 3047, 6650],
                      [4047, 8828, 8732, 5743, 1091, 381]])  # fmt: skip


def hartmann6(arch: Architecture) -> float:
    """Return minus the Hartmann function: greatest value 3.32237, a local one of 3.2032."""
    inner = (_A * (np.array(arch.numbers) - _P) ** 2).sum(axis=1)
    return float(np.array([1.0, 1.2, 3.0, 3.2]) @ np.exp(-inner))


class MixedToy(Space):
    """Three operations on each of three edges, a learning rate and a weight decay."""

    name = "mixed-toy"
    choices = tuple(Choice(f"edge {i}", ("none", "pool", "conv")) for i in range(3))
    ranges = (Range("learning rate", 1e-4, 1.0, log=True), Range("weight decay", 0.0, 1.0))


def mixed_toy(arch: Architecture) -> float:
    """Return an accuracy whose best learning rate depends on the operations; greatest value 1."""
    convolutions = sum(v == 2 for v in arch.values)
    rate, decay = arch.numbers
    off = math.log10(rate) + 1.0 + 0.5 * convolutions
    return convolutions / 3 - 0.2 * off**2 - (decay - 0.3) ** 2


def play(strategy: Strategy, function: Function, queries: int) -> list[Architecture]:
    """Ask and tell `queries` times; return what was asked."""
    asked = []
    for _ in range(queries):
        asked.append(strategy.ask())
        told = Measurement({"score": function(asked[-1])}, Cost(seconds=1.0))
        strategy.tell(asked[-1], told)
    return asked


def anytime(strategy: Strategy, function: Function, queries: int) -> list[float]:
    """Return the best value after each query."""
    values = [function(a) for a in play(strategy, function, queries)]
    best: list[float] = np.maximum.accumulate(values).tolist()
    return best
