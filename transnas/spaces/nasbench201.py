"""NAS-Bench-201 (NATS-Bench topology): a complete cell on four nodes, five operations an edge.

Dong & Yang, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search",
ICLR 2020. Node 0 is the input, node 3 the output; node j sums the operations of its incoming
edges. 5^6 = 15,625 codes; 6,466 classes by the official string rule; 4,930 truly different cells.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import product

from transnas._errors import InputError, unknown
from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._registry import register

__all__ = ["EDGES", "INPUT", "OPERATIONS", "SKIP", "NASBench201", "output_term"]

EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NONE, SKIP = 0, 1
INPUT, OUTPUT = 0, 3

_Term = tuple[str, ...]
"""A node as a sorted multiset of what it sums; the input is `("x",)`, zero is `()`."""


@register("nasbench201")
class NASBench201(Space):
    """The 15,625 cells; `index` is the official one."""

    name = "nasbench201"
    choices = tuple(Choice(f"{i}>{j}", OPERATIONS) for i, j in EDGES)

    # Listing in the official order ----------------------------------------------------------

    def index(self, arch: Architecture) -> int:
        """Return the official NAS-Bench-201 index."""
        return _official_order()[1][arch.values]

    def at(self, index: int) -> Architecture:
        """Return the cell with this official index."""
        if not 0 <= index < self.size:
            raise InputError(f"index {index} is not in space {self.name!r}; accepted: 0..15624")
        return Architecture(self.name, _official_order()[0][index])

    # Structure ------------------------------------------------------------------------------

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the first cell (official order) that computes the same function.

        Skips are flattened into the sums they feed, zeros propagate, sums are unordered:
        4,930 classes.
        """
        return Architecture(self.name, _representatives()[self.index(arch)])

    def pruned(self, arch: Architecture) -> Architecture:
        """Return the cell with `none` on every edge that lies on no input-output path."""
        alive = {edge for path in _edge_paths(arch.values) for edge in path}
        values = tuple(v if e in alive else NONE for e, v in enumerate(arch.values))
        return Architecture(self.name, values)

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the operations along each input-output path, skips left out; () if cut off."""
        return tuple(
            tuple(OPERATIONS[arch.values[e]] for e in path if arch.values[e] != SKIP)
            for path in _edge_paths(arch.values)
        )

    def graph(self, arch: Architecture) -> Graph:
        """Return the cell with its four nodes; `none` edges are left out."""
        nodes = ("input", "node 1", "node 2", "output")
        edges = tuple(
            (nodes[i], nodes[j], OPERATIONS[code])
            for (i, j), code in zip(EDGES, arch.values, strict=True)
            if code != NONE
        )
        return Graph(nodes, edges)

    # Official text --------------------------------------------------------------------------

    def to_text(self, arch: Architecture) -> str:
        """Return the official string `|op~0|+|op~0|op~1|+|op~0|op~1|op~2|`."""
        parts = [f"{OPERATIONS[c]}~{i}" for (i, _), c in zip(EDGES, arch.values, strict=True)]
        return "+".join(f"|{'|'.join(group)}|" for group in (parts[:1], parts[1:3], parts[3:]))

    def from_text(self, text: str) -> Architecture:
        """Read the official string, or an official index written as digits."""
        if re.fullmatch("[0-9]{1,9}", text.strip()):
            return self.at(int(text))
        groups = [g.strip().strip("|").split("|") for g in text.strip().split("+")]
        tokens = [token.strip() for group in groups for token in group]
        sources = [token.partition("~")[2] for token in tokens]
        if [len(g) for g in groups] != [1, 2, 3] or sources != [str(i) for i, _ in EDGES]:
            raise InputError(
                f"architecture text {text!r} is not readable; accepted: "
                "|op~0|+|op~0|op~1|+|op~0|op~1|op~2| or an index 0..15624"
            )
        names = [token.partition("~")[0] for token in tokens]
        for name in names:
            if name not in OPERATIONS:
                raise unknown("operation", name, OPERATIONS)
        return self.architecture([OPERATIONS.index(name) for name in names])


@lru_cache(maxsize=1)
def _official_order() -> tuple[list[tuple[int, ...]], dict[tuple[int, ...], int]]:
    """Return codes by official index, and its inverse.

    The benchmark lists cells lexicographically and shuffles them with Python's generator under
    seed 88; the rows of the published tables confirm it.
    """
    order = list(product(range(len(OPERATIONS)), repeat=len(EDGES)))
    random.Random(88).shuffle(order)
    return order, {values: i for i, values in enumerate(order)}


@lru_cache(maxsize=1)
def _representatives() -> list[tuple[int, ...]]:
    """Return the class representative (codes) of each official index."""
    order, _ = _official_order()
    first: dict[_Term, tuple[int, ...]] = {}
    return [first.setdefault(output_term(values), values) for values in order]


def output_term(values: Sequence[int]) -> _Term:
    """Return what the output node sums; equal terms are equal functions, weights renamed.

    Codes other than `none` and `skip_connect` are operations with weights or a kernel.
    """
    nodes: list[_Term] = [("x",)]
    for j in range(1, 4):
        summands: list[str] = []
        for (source, target), code in zip(EDGES, values, strict=True):
            if target != j or code == NONE or not nodes[source]:
                continue
            if code == SKIP:
                summands.extend(nodes[source])
            else:
                summands.append(f"{code}({'+'.join(nodes[source])})")
        nodes.append(tuple(sorted(summands)))
    return nodes[OUTPUT]


_ALL_PATHS = ((3,), (0, 4), (1, 5), (0, 2, 5))
"""The four input-output paths of the cell, as edge numbers."""


def _edge_paths(values: Sequence[int]) -> Iterable[tuple[int, ...]]:
    return (path for path in _ALL_PATHS if all(values[e] != NONE for e in path))
