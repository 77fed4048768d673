"""The PNAS space with its smaller cells: one to five blocks, as progressive search visits them.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018, section 3. Sizes 256, 256 x 576,
... add up to 5.57e14 codes; 136 distinct cells of one block.
"""

from __future__ import annotations

from transnas.spaces._growing import GrowingCells, growing_choices
from transnas.spaces._registry import register
from transnas.spaces.pnas import OPERATIONS

__all__ = ["GrowingCells", "PNASGrowing", "growing_choices"]


@register("pnas-growing")
class PNASGrowing(GrowingCells):
    """Any two states a block; the output is every block that no block reads."""

    name = "pnas-growing"
    kinds = ("cell",)
    inputs = ("h_i", "h_{i-1}")
    choices = growing_choices("cell", 5, OPERATIONS)
