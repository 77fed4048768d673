"""Tree-structured cells, each the history of transformations that made it from one convolution.

Cai et al., "Path-Level Network Transformation for Efficient Architecture Search", ICML 2018. A cell
begins as one edge, a 3x3 convolution. A step replaces one edge: by the mean of two copies (`add`),
by two branches that make half of its channels each (`concat`), or by itself and a new layer after
it (`conv3`, `depthwise5`). All four can leave the cell's function as it is, so that the network of
a longer history can start with the weights of a shorter one (`parent`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._registry import register

__all__ = ["MOVES", "PathLevel", "Step", "Tree"]

MOVES = ("add", "concat", "conv3", "depthwise5")
_STEPS = 6
_STOP = "stop"

Tree = str | tuple[object, ...]
"""An edge's operation, or (`add`, `concat` or `chain`, tree, tree)."""


class Step(NamedTuple):
    """One transformation: which edge, counted depth first, and what becomes of it."""

    edge: int
    move: str


@register("path-level")
class PathLevel(Space):
    """Up to six transformations; after `stop` there is nothing but `stop`.

    A step's values are `stop` and `edge:move`. Each step leaves one edge more than there was, so
    that step i (from 1) may name edges 0 to i - 1. Histories that give the same tree count as
    different.
    """

    name = "path-level"
    choices = tuple(
        Choice(f"step {i}", (_STOP, *(f"{e}:{m}" for e in range(i) for m in MOVES)))
        for i in range(1, _STEPS + 1)
    )

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        allowed = np.ones(len(self.choices[len(prefix)].values), dtype=np.bool_)
        if prefix and prefix[-1] == 0:
            allowed[1:] = False
        return allowed

    def completions(self, prefix: Sequence[int]) -> int:
        if prefix and prefix[-1] == 0:
            return 1
        return self._completions[len(prefix)]

    @cached_property
    def _completions(self) -> tuple[int, ...]:
        """By length of a prefix that has not stopped."""
        found = [1]
        for choice in reversed(self.choices):
            found.append(1 + (len(choice.values) - 1) * found[-1])
        return tuple(reversed(found))

    def steps(self, arch: Architecture) -> tuple[Step, ...]:
        """Return the transformations, first to last."""
        moved = (value - 1 for value in arch.values if value)
        return tuple(Step(code // len(MOVES), MOVES[code % len(MOVES)]) for code in moved)

    def parent(self, arch: Architecture) -> Architecture | None:
        """Return the architecture without its last transformation; None if it has none."""
        count = len(self.steps(arch))
        if not count:
            return None
        return Architecture(self.name, _stopped(arch.values[: count - 1]))

    def grown(self, arch: Architecture) -> list[Architecture]:
        """Return all architectures of one transformation more; [] for the longest."""
        count = len(self.steps(arch))
        if count == len(self.choices):
            return []
        begun = arch.values[:count]
        values = range(1, len(self.choices[count].values))
        return [Architecture(self.name, _stopped((*begun, value))) for value in values]

    def tree(self, arch: Architecture) -> Tree:
        """Return the cell that the steps make."""
        tree: Tree = "conv3"
        for edge, move in self.steps(arch):
            tree, _ = _replaced(tree, edge, move)
        return tree

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the operations along each way through the tree."""
        return _paths(self.tree(arch))

    def graph(self, arch: Architecture) -> Graph:
        """Return the cell with a node wherever edges meet; splits and merges are edges too."""
        nodes, edges = ["input"], list[tuple[str, str, str]]()
        last = _drawn(self.tree(arch), "input", nodes, edges)
        return Graph((*nodes, "output"), (*edges, (last, "output", "identity")))


def _stopped(values: tuple[int, ...]) -> tuple[int, ...]:
    return values + (0,) * (_STEPS - len(values))


def _replaced(tree: Tree, edge: int, move: str) -> tuple[Tree, int]:
    """Return `tree` with its edge number `edge` transformed, and how many edges it had."""
    if isinstance(tree, str):
        if edge != 0:
            return tree, 1
        if move in ("add", "concat"):
            return (move, tree, tree), 1
        return ("chain", tree, move), 1
    kind, *branches = tree
    done, count = [], 0
    for branch in branches:
        assert isinstance(branch, (str, tuple))
        changed, edges = _replaced(branch, edge - count, move)
        done.append(changed)
        count += edges
    return (kind, *done), count


def _paths(tree: Tree) -> tuple[tuple[str, ...], ...]:
    if isinstance(tree, str):
        return ((tree,),)
    kind, first, second = tree
    assert isinstance(first, (str, tuple))
    assert isinstance(second, (str, tuple))
    if kind == "chain":
        return tuple(a + b for a in _paths(first) for b in _paths(second))
    return tuple((f"{kind}", *path) for part in (first, second) for path in _paths(part))


def _drawn(tree: Tree, source: str, nodes: list[str], edges: list[tuple[str, str, str]]) -> str:
    """Draw `tree` from the node `source` on; return the node where it ends."""
    if not isinstance(tree, str):
        kind, first, second = tree
        assert isinstance(first, (str, tuple))
        assert isinstance(second, (str, tuple))
        if kind == "chain":
            return _drawn(second, _drawn(first, source, nodes, edges), nodes, edges)
        ends = [_drawn(part, source, nodes, edges) for part in (first, second)]
        node = f"{kind} {len(nodes)}"
        edges += [(end, node, "identity") for end in ends]
    else:
        node = f"node {len(nodes)}"
        edges.append((source, node, tree))
    nodes.append(node)
    return node
