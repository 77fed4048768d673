"""The PNAS space: one cell of five blocks, eight operations, sums; a reduction is its stride.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018. State 0 is the newer input h_i,
state 1 is h_{i-1}. 5.57e14 codes.
"""

from __future__ import annotations

from transnas.spaces._cells import CellSpace, cell_choices
from transnas.spaces._registry import register

__all__ = ["OPERATIONS", "PNAS"]

OPERATIONS = (
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
    "conv_7x1_1x7",
    "skip_connect",
    "avg_pool_3x3",
    "max_pool_3x3",
    "dil_conv_3x3",
)


@register("pnas")
class PNAS(CellSpace):
    """Any two states a block; the output is every block that no block reads."""

    name = "pnas"
    kinds = ("cell",)
    inputs = ("h_i", "h_{i-1}")
    choices = cell_choices(kinds, 5, OPERATIONS)
