"""Fractal networks: how many blocks follow one another, and how many columns each has.

Larsson et al., "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017: a network of
B blocks of C columns is B 2^(C-1) convolutions deep. The paper's is 5 blocks of 3 columns.
"""

from __future__ import annotations

from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._registry import register

__all__ = ["Fractal"]


@register("fractal")
class Fractal(Space):
    """2 to 5 blocks of 1 to 4 columns: 16 networks; one column is a plain chain."""

    name = "fractal"
    choices = (Choice("blocks", ("2", "3", "4", "5")), Choice("columns", ("1", "2", "3", "4")))

    def plan(self, arch: Architecture) -> tuple[int, int]:
        """Return the numbers of blocks and of columns."""
        blocks, columns = (
            int(choice.values[value])
            for choice, value in zip(self.choices, arch.values, strict=True)
        )
        return blocks, columns

    def graph(self, arch: Architecture) -> Graph:
        """Return one block: rows of convolutions that end together meet in one join."""
        _, columns = self.plan(arch)
        depth = 2 ** (columns - 1)
        nodes, edges = ["input"], []
        last = ["input"] * columns
        for row in range(1, depth + 1):
            ending = [c for c in range(columns) if row % 2 ** (columns - 1 - c) == 0]
            join = f"join {row}" if len(ending) > 1 else f"row {row}"
            nodes.append(join)
            edges += [(last[c], join, f"column {c + 1}") for c in ending]
            for c in ending:
                last[c] = join
        return Graph(tuple(nodes), tuple(edges))
