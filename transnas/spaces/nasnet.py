"""The NASNet space: two cells of five blocks, thirteen operations, sums or concatenations.

Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR 2018.
State 0 is the newer input h_i, state 1 is h_{i-1}, the reverse of the DARTS order.
"""

from __future__ import annotations

from transnas.spaces._cells import Block, Cell, CellSpace, cell_choices
from transnas.spaces._registry import register

__all__ = ["OPERATIONS", "Block", "Cell", "CellSpace", "NASNet"]

OPERATIONS = (
    "skip_connect",
    "conv_3x1_1x3",
    "conv_7x1_1x7",
    "dil_conv_3x3",
    "avg_pool_3x3",
    "max_pool_3x3",
    "max_pool_5x5",
    "max_pool_7x7",
    "nor_conv_1x1",
    "nor_conv_3x3",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "sep_conv_7x7",
)
_KINDS = ("normal", "reduce")


@register("nasnet")
class NASNet(CellSpace):
    """Any two states a block; the output is every block that no block reads. 5.23e36 codes."""

    name = "nasnet"
    inputs = ("h_i", "h_{i-1}")
    choices = cell_choices(_KINDS, 5, OPERATIONS, ("add", "concat"))
