"""Recurrent cells as trees: what the DARTS and ENAS recurrent spaces share.

State 0 is made of the input and the last hidden state; node i >= 1 applies an activation to a
linear map of one earlier state.
"""

from __future__ import annotations

from collections.abc import Sequence

from transnas.spaces._base import Architecture, Choice, Graph, Space

__all__ = ["ACTIVATIONS", "RecurrentSpace", "node_choices"]

ACTIVATIONS = ("tanh", "relu", "identity", "sigmoid")

Node = tuple[str, int]
"""An activation and the state that it is applied to."""
_Key = tuple[str, tuple[object, ...]]
"""A subtree: its root's activation, and its children's keys, sorted."""


def node_choices(nodes: int) -> tuple[Choice, ...]:
    """Return the choices of nodes 1..`nodes`: a state and an activation each."""
    choices = []
    for i in range(1, nodes + 1):
        choices += [
            Choice(f"node {i} input", tuple(map(str, range(i)))),
            Choice(f"node {i} activation", ACTIVATIONS),
        ]
    return tuple(choices)


class RecurrentSpace(Space):
    """A tree of nodes; choices are those of `node_choices`, perhaps after an activation of state 0.

    Without that choice the activation of state 0 is tanh.
    """

    def root(self, arch: Architecture) -> str:
        """Return the activation of state 0."""
        return ACTIVATIONS[arch.values[0]] if len(self.choices) % 2 else "tanh"

    def nodes(self, arch: Architecture) -> tuple[Node, ...]:
        """Return activation and input of nodes 1, 2, ..."""
        codes = arch.values[len(self.choices) % 2 :]
        return tuple(
            (ACTIVATIONS[activation], state)
            for state, activation in zip(codes[::2], codes[1::2], strict=True)
        )

    def outputs(self, nodes: Sequence[Node]) -> tuple[int, ...]:
        """Return the states whose mean is the new hidden state."""
        raise NotImplementedError

    def from_nodes(self, nodes: Sequence[Node], root: str = "tanh") -> Architecture:
        """Return the architecture of these nodes; raises `InputError` if it is not of the space."""
        codes = [code for op, state in nodes for code in (state, _code(op))]
        return self.architecture([_code(root), *codes] if len(self.choices) % 2 else codes)

    def referents(self, choice: int) -> tuple[int | None, ...]:
        """Return the states that a node may read, by the choice of their activation."""
        first = len(self.choices) % 2
        if (choice - first) % 2 or choice < first:
            return ()
        return tuple(first + 2 * int(state) - 1 for state in self.choices[choice].values)

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the same tree with nodes numbered depth first, smaller subtrees first."""
        nodes = self.nodes(arch)
        children: list[list[int]] = [[] for _ in range(len(nodes) + 1)]
        for i, (_, state) in enumerate(nodes, start=1):
            children[state].append(i)

        def key(i: int) -> _Key:
            return nodes[i - 1][0], tuple(sorted(map(key, children[i])))

        ordered: list[Node] = []

        def number(i: int, label: int) -> None:
            for child in sorted(children[i], key=key):
                ordered.append((nodes[child - 1][0], label))
                number(child, len(ordered))

        number(0, 0)
        return self.from_nodes(ordered, self.root(arch))

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the activations along the path from state 0 to each output."""
        nodes = self.nodes(arch)
        into: list[tuple[str, ...]] = [(self.root(arch),)]
        for activation, state in nodes:
            into.append((*into[state], activation))
        return tuple(into[i] for i in self.outputs(nodes))

    def graph(self, arch: Architecture) -> Graph:
        """Return the cell from input and last hidden state to the mean of its outputs."""
        chosen = self.nodes(arch)
        states = [f"node {i}" for i in range(len(chosen) + 1)]
        edges = [(source, states[0], self.root(arch)) for source in ("x", "h")]
        edges += [(states[s], states[i], op) for i, (op, s) in enumerate(chosen, start=1)]
        edges += [(states[i], "output", "mean") for i in self.outputs(chosen)]
        return Graph(("x", "h", *states, "output"), tuple(edges))


def _code(activation: str) -> int:
    return ACTIVATIONS.index(activation) if activation in ACTIVATIONS else len(ACTIVATIONS)
