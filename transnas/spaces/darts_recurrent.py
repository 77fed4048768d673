"""The DARTS recurrent space: eight nodes, an earlier state and an activation each.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, section 3.1.2. The new hidden
state is the mean of all nodes. 4^8 8! = 2,642,411,520 cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from transnas._errors import InputError
from transnas.spaces._base import Architecture
from transnas.spaces._genotype import read_outputs, read_pairs
from transnas.spaces._recurrent import ACTIVATIONS, RecurrentSpace, node_choices
from transnas.spaces._registry import register

__all__ = ["ACTIVATIONS", "DARTSRecurrent", "RecurrentSpace"]

_NODES = 8


@register("darts-recurrent")
class DARTSRecurrent(RecurrentSpace):
    """Text is the published genotype."""

    name = "darts-recurrent"
    choices = node_choices(_NODES)

    def outputs(self, nodes: Sequence[tuple[str, int]]) -> tuple[int, ...]:
        """Return all nodes."""
        return tuple(range(1, len(nodes) + 1))

    def to_text(self, arch: Architecture) -> str:
        """Return `Genotype(recurrent=[('sigmoid', 0), ...], concat=range(1, 9))`."""
        return f"Genotype(recurrent={list(self.nodes(arch))}, concat=range(1, {_NODES + 1}))"

    def from_text(self, text: str) -> Architecture:
        """Read a genotype as the published code prints it; its `concat` is of all nodes."""
        found, outputs = read_pairs(text, "recurrent"), read_outputs(text, "concat")
        if found is None or outputs is None or len(found) != _NODES:
            raise InputError(
                f"architecture text {text!r} is not readable; accepted: Genotype(recurrent="
                f"[('activation', state), ...], concat=range(1, 9)) with {_NODES} nodes"
            )
        if sorted(outputs) != [*range(1, _NODES + 1)]:
            raise InputError(
                f"the cell's output is {list(outputs)}; accepted by space {self.name!r}: "
                f"{[*range(1, _NODES + 1)]}"
            )
        return self.from_nodes(found)
