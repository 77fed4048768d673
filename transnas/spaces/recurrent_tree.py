"""Recurrent cells as balanced binary trees, the space of Zoph & Le for language models.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, section 3.4. Each
leaf combines a linear map of the input with one of the last hidden state; each further node
combines its two children; the root's output is the new hidden state. A memory c goes beside it: one
node's value before its activation becomes the next c, and the last c is combined with the output of
one node (the injection). With 8 leaves 8^16 15^2 = 6.3e16 cells.
"""

from __future__ import annotations

from typing import NamedTuple

from transnas._errors import InputError
from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._integers import read_integers
from transnas.spaces._registry import register

__all__ = ["COMBINERS", "TREE_ACTIVATIONS", "RecurrentTree", "TreeCell"]

COMBINERS = ("add", "elem_mult")
TREE_ACTIVATIONS = ("identity", "tanh", "sigmoid", "relu")

Step = tuple[str, str]
"""A combiner and an activation."""


class TreeCell(NamedTuple):
    """What the codes of a tree say.

    Attributes:
        nodes: Combiner and activation of each node: leaves, then level by level, the root last.
        children: The two nodes that each node after the leaves combines.
        inject: How the last memory is combined with a node's output.
        memory: The node whose value before its activation is the next memory.
        injected: The node whose output the last memory is combined with.
    """

    nodes: tuple[Step, ...]
    children: tuple[tuple[int, int], ...]
    inject: Step
    memory: int
    injected: int


@register("recurrent-tree")
class RecurrentTree(Space):
    """A tree of `leaves` leaves: combiner and activation of each node, the injection, two indices.

    Text is integers, in the order of the choices (combiners 0 add, 1 elem_mult; activations
    0 identity, 1 tanh, 2 sigmoid, 3 relu).
    """

    name = "recurrent-tree"

    def __init__(self, leaves: int = 8) -> None:
        """Set the number of leaves; raises `InputError` unless it is a power of two from 2."""
        if leaves < 2 or leaves & (leaves - 1):
            raise InputError(f"leaves {leaves} of a tree; accepted: 2, 4, 8, ...")
        self.leaves = leaves
        count = 2 * leaves - 1
        self.children = tuple((2 * i, 2 * i + 1) for i in range(leaves - 1))
        steps = [*(f"node {i}" for i in range(count)), "inject"]
        indices = tuple(map(str, range(count)))
        self.choices = (
            *(
                Choice(f"{step} {what}", values)
                for step in steps
                for what, values in (("combiner", COMBINERS), ("activation", TREE_ACTIVATIONS))
            ),
            Choice("memory from node", indices),
            Choice("memory into node", indices),
        )

    def cell(self, arch: Architecture) -> TreeCell:
        """Return what the codes say."""
        *codes, memory, injected = arch.values
        steps = [
            (COMBINERS[combiner], TREE_ACTIVATIONS[activation])
            for combiner, activation in zip(codes[::2], codes[1::2], strict=True)
        ]
        return TreeCell(tuple(steps[:-1]), self.children, steps[-1], memory, injected)

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the same cell with each node's children in order, as both combiners commute."""
        root = _sorted(self._subtree(arch, 2 * self.leaves - 2))
        codes = [0] * (len(self.choices) - 4)
        indices = [0, 0]

        def place(tree: _Tree, node: int) -> None:
            codes[2 * node : 2 * node + 2] = tree.step
            for i, named in enumerate(tree.named):
                indices[i] = node if named else indices[i]
            below = self.children[node - self.leaves] if tree.children else ()
            for child, position in zip(tree.children, below, strict=True):
                place(child, position)

        place(root, 2 * self.leaves - 2)
        return Architecture(self.name, (*codes, *arch.values[-4:-2], *indices))

    def _subtree(self, arch: Architecture, node: int) -> _Tree:
        below = self.children[node - self.leaves] if node >= self.leaves else ()
        memory, injected = arch.values[-2:]
        return _Tree(
            arch.values[2 * node : 2 * node + 2],
            (node == memory, node == injected),
            tuple(self._subtree(arch, child) for child in below),
        )

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return combiners with activations from each leaf to the root."""
        nodes, reader = self.cell(arch).nodes, self._reader()
        found = []
        for leaf in range(self.leaves):
            path, node = [" ".join(nodes[leaf])], leaf
            while node in reader:
                node = reader[node]
                path.append(" ".join(nodes[node]))
            found.append(tuple(path))
        return tuple(found)

    def _reader(self) -> dict[int, int]:
        """Return the node that reads each node; the root has none."""
        pairs = enumerate(self.children, start=self.leaves)
        return {child: node for node, both in pairs for child in both}

    def graph(self, arch: Architecture) -> Graph:
        """Return the tree from input and last hidden state to the new one, with the memory."""
        cell = self.cell(arch)
        names = [f"node {i}" for i in range(len(cell.nodes))]
        labels = [" ".join(step) for step in cell.nodes]
        edges = [(s, names[i], labels[i]) for i in range(self.leaves) for s in ("x", "h")]
        edges += [
            (names[child], names[node], labels[node]) for child, node in self._reader().items()
        ]
        edges += [
            ("c", names[cell.injected], " ".join(cell.inject)),
            (names[cell.memory], "new c", "memory"),
            (names[-1], "output", "identity"),
        ]
        return Graph(("x", "h", "c", *names, "new c", "output"), tuple(edges))

    def to_text(self, arch: Architecture) -> str:
        """Return the codes, separated by spaces."""
        return " ".join(map(str, arch.values))

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        meaning = "combiner and activation of each node and of the injection, two node numbers"
        return self.architecture(read_integers(text, len(self.choices), meaning))


class _Tree(NamedTuple):
    """A node's codes, whether memory and injection name it, and its children; these order it."""

    step: tuple[int, ...]
    named: tuple[bool, bool]
    children: tuple[_Tree, ...]


def _sorted(tree: _Tree) -> _Tree:
    return tree._replace(children=tuple(sorted(map(_sorted, tree.children))))
