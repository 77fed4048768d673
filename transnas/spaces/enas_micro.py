"""The ENAS micro space: two cells of five blocks, five operations, sums.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.4.
State 0 is the older input. (5^5 720)^4 = 2.56e25 codes.
"""

from __future__ import annotations

from transnas.spaces._base import Architecture
from transnas.spaces._cells import CellSpace, cell_choices
from transnas.spaces._integers import read_integers
from transnas.spaces._registry import register

__all__ = ["OPERATIONS", "ENASMicro"]

OPERATIONS = ("sep_conv_3x3", "sep_conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")
_KINDS = ("normal", "reduce")
_BLOCKS = 5


@register("enas-micro")
class ENASMicro(CellSpace):
    """Text is the published one: for each cell 5 x (input, operation, input, operation) codes."""

    name = "enas-micro"
    choices = cell_choices(_KINDS, _BLOCKS, OPERATIONS)

    def to_text(self, arch: Architecture) -> str:
        """Return two times twenty integers, with a slash between the cells."""
        words = [
            f"{one} {first} {two} {second}"
            for one, two, first, second in zip(*(arch.values[k::4] for k in range(4)), strict=True)
        ]
        return f"{' '.join(words[:_BLOCKS])} / {' '.join(words[_BLOCKS:])}"

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`; the slash may be left out."""
        codes = read_integers(
            text, len(self.choices), "input operation input operation for each block"
        )
        blocks = zip(*(codes[k::4] for k in range(4)), strict=True)
        return self.architecture([c for a, x, b, y in blocks for c in (a, b, x, y)])
