"""The ENAS recurrent space: twelve nodes, the first reads input and last hidden state.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.1.
The new hidden state is the mean of the nodes that no node reads. 4^12 11! = 6.70e14 cells.
"""

from __future__ import annotations

from collections.abc import Sequence

from transnas.spaces._base import Architecture, Choice
from transnas.spaces._integers import read_integers
from transnas.spaces._recurrent import ACTIVATIONS, RecurrentSpace, node_choices
from transnas.spaces._registry import register

__all__ = ["ENASRecurrent"]

_NODES = 12


@register("enas-recurrent")
class ENASRecurrent(RecurrentSpace):
    """Text is 23 integers: an activation, then an input and an activation for each further node.

    Activations are 0 tanh, 1 relu, 2 identity, 3 sigmoid; nodes count from 0.
    """

    name = "enas-recurrent"
    choices = (Choice("node 0 activation", ACTIVATIONS), *node_choices(_NODES - 1))

    def outputs(self, nodes: Sequence[tuple[str, int]]) -> tuple[int, ...]:
        """Return the leaves of the tree."""
        read = {state for _, state in nodes}
        return tuple(i for i in range(len(nodes) + 1) if i not in read)

    def to_text(self, arch: Architecture) -> str:
        """Return the codes, separated by spaces."""
        return " ".join(map(str, arch.values))

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        meaning = "an activation, then input and activation of each node"
        return self.architecture(read_integers(text, len(self.choices), meaning))
