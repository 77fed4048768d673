"""The DARTS convolutional spaces: two cells of four nodes, two inputs a node, an operation each.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, and the sub-spaces S2, S3, S4
of Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020.
State 0 is the older input c_{k-2}, state 1 is c_{k-1}; all four nodes are concatenated.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import comb

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.spaces._base import Architecture
from transnas.spaces._cells import Block, Cell, CellSpace, cell_choices
from transnas.spaces._genotype import Genotype
from transnas.spaces._registry import register

__all__ = ["NODES", "OPERATIONS", "Cell", "DARTS", "Genotype"]

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
NODES = 4
_KINDS = ("normal", "reduce")
_A_NODE = 4
"""Choices a node: its two predecessors in ascending order, then their operations."""
_FIRST_EDGES = (0, 1)
"""A prefix after which an operation is chosen."""


@register("darts")
class DARTS(CellSpace):
    """Every node reads two different predecessors; 1.08e18 pairs of cells.

    `none` is an operation of the search's mixed edges, and never of a cell that it derives.
    """

    name = "darts"
    kinds = _KINDS
    operations: tuple[str, ...] = OPERATIONS
    derives_none = False
    choices = cell_choices(_KINDS, NODES, OPERATIONS)

    # What is allowed ------------------------------------------------------------------------

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Allow ascending predecessors, and every operation but `none`."""
        node, part = self._position(len(prefix))
        earlier = node + 2
        if part == 0:
            return np.arange(earlier) < earlier - 1
        if part == 1:
            return np.arange(earlier) > prefix[-1]
        return np.array([self.derives_none or op != "none" for op in self.operations])

    def completions(self, prefix: Sequence[int]) -> int:
        """Return how many pairs of cells start with `prefix`, by formula."""
        if len(prefix) == len(self.choices):
            return 1
        node, part = self._position(len(prefix))
        ways: int = self._edge_has ** (_A_NODE - max(part, 2))
        if part == 0:
            ways *= comb(node + 2, 2)
        elif part == 1:
            ways *= node + 1 - prefix[-1]
        return ways * self._nodes_have[len(prefix) // _A_NODE + 1]

    @cached_property
    def _edge_has(self) -> int:
        """Number of operations that an edge may have."""
        return int(sum(self.mask(_FIRST_EDGES)))

    @cached_property
    def _nodes_have(self) -> list[int]:
        """Number of ways to fill node n of both cells and all later ones, for n = 0, 1, ..., 8."""
        ways = [1]
        for node in reversed(range(NODES * len(self.kinds))):
            ways.append(ways[-1] * comb(node % NODES + 2, 2) * self._edge_has**2)
        return ways[::-1]

    @staticmethod
    def _position(decided: int) -> tuple[int, int]:
        """Return node (0 to 3) and choice of the node (0 to 3) that follow `decided` choices."""
        return decided // _A_NODE % NODES, decided % _A_NODE

    def outputs(self, blocks: Sequence[Block], kind: str) -> tuple[int, ...]:
        """Return all four nodes."""
        return tuple(range(2, NODES + 2))

    # Moving ---------------------------------------------------------------------------------

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """Return cells with one operation changed, or one predecessor moved to an unused state.

        An edge keeps its operation when its predecessor moves. 120 neighbours in the full space.
        """
        allowed = np.flatnonzero(self.mask(_FIRST_EDGES)).tolist()
        found = []
        for start in range(0, len(arch.values), _A_NODE):
            one, two, first, second = arch.values[start : start + _A_NODE]
            edges = ((one, first), (two, second))
            unused = set(range(start // _A_NODE % NODES + 2)) - {one, two}
            for (state, op), other in (edges, edges[::-1]):
                moved = [(s, op) for s in sorted(unused)]
                moved += [(state, changed) for changed in allowed if changed != op]
                for edge in moved:
                    (a, op_a), (b, op_b) = sorted((edge, other))
                    values = (*arch.values[:start], a, b, op_a, op_b)
                    values += arch.values[start + _A_NODE :]
                    found.append(Architecture(self.name, values))
        return found

    # Published text -------------------------------------------------------------------------

    def genotype(self, arch: Architecture) -> Genotype:
        """Return the cells in their published form."""
        cells = self.cells(arch)
        return Genotype(cells["normal"], cells["reduce"])

    def from_genotype(self, genotype: Genotype) -> Architecture:
        """Return the architecture of a genotype, its pairs in any order.

        Raises `InputError` for cells that are not of this space.
        """
        cells = {"normal": genotype.normal, "reduce": genotype.reduce}
        return self.from_blocks({kind: self._sorted(cell) for kind, cell in cells.items()})

    def to_text(self, arch: Architecture) -> str:
        """Return `Genotype(normal=[...], normal_concat=[2, 3, 4, 5], reduce=[...], ...)`."""
        return str(self.genotype(arch))

    def from_text(self, text: str) -> Architecture:
        """Read a genotype as papers and their code print it."""
        return self.from_genotype(Genotype.parse(text))

    def _sorted(self, cell: Cell) -> list[Block]:
        if sorted(cell.outputs) != [2, 3, 4, 5]:
            raise InputError(
                f"the cell's output is {list(cell.outputs)}; accepted by space "
                f"{self.name!r}: [2, 3, 4, 5]"
            )
        return [Block((min(b.pairs), max(b.pairs))) for b in cell.blocks]


@register("darts-none")
class DARTSWithNone(DARTS):
    """DARTS cells whose edges may be `none`, as SNAS and random search with sharing derive."""

    name = "darts-none"
    derives_none = True


@register("darts-s2")
class DARTSS2(DARTS):
    """RobustDARTS S2: skip or separable convolution on every edge."""

    name = "darts-s2"
    operations = ("skip_connect", "sep_conv_3x3")
    choices = cell_choices(_KINDS, NODES, operations)


@register("darts-s3")
class DARTSS3(DARTS):
    """RobustDARTS S3: S2 with `none` on the mixed edges."""

    name = "darts-s3"
    operations = ("none", "skip_connect", "sep_conv_3x3")
    choices = cell_choices(_KINDS, NODES, operations)


@register("darts-s4")
class DARTSS4(DARTS):
    """RobustDARTS S4: noise or separable convolution; a good search almost never takes noise."""

    name = "darts-s4"
    operations = ("noise", "sep_conv_3x3")
    choices = cell_choices(_KINDS, NODES, operations)
