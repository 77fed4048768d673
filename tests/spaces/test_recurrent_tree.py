"""The space of recurrent trees: its size, its neighbours, its symmetries."""

from __future__ import annotations

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.spaces import Architecture
from transnas.spaces.recurrent_tree import RecurrentTree


def test_size_and_neighbours_are_as_published() -> None:
    space = spaces.get("recurrent-tree")
    assert space.size == 8**16 * 15**2  # "approximately 6 x 10^16"
    arch = space.sample(np.random.default_rng(0))
    assert len(space.neighbours(arch)) == 16 * (1 + 3) + 2 * 14
    # The controller predicts two tokens a tree node, two for the injection and two indices.
    assert len(space.choices) == 2 * 15 + 4


def test_swapped_children_have_one_canonical_form() -> None:
    space = RecurrentTree(4)
    rng = np.random.default_rng(0)

    def swapped(arch: Architecture, node: int) -> Architecture:
        """Exchange the subtrees below `node`, with what the indices name in them."""
        place = {i: i for i in range(7)}

        def exchange(a: int, b: int) -> None:
            place[a], place[b] = b, a
            if a >= 4:
                for one, other in zip(space.children[a - 4], space.children[b - 4], strict=True):
                    exchange(one, other)

        exchange(*space.children[node - 4])
        values = list(arch.values)
        for old, new in place.items():
            values[2 * new : 2 * new + 2] = arch.values[2 * old : 2 * old + 2]
        values[-2:] = place[arch.values[-2]], place[arch.values[-1]]
        return space.architecture(values)

    for _ in range(30):
        arch = space.sample(rng)
        form = space.canonical(arch)
        for node in (4, 5, 6):
            assert space.canonical(swapped(arch, node)) == form
        assert sorted(space.paths(arch)) == sorted(space.paths(form))
    # Every class of the tree of two leaves is as large as its symmetry says: 1 or 2 members.
    small = RecurrentTree(2)
    forms = {small.canonical(small.sample(rng)) for _ in range(300)}
    for form in forms:
        assert swaps(small, form) in (1, 2)


def swaps(space: RecurrentTree, form: Architecture) -> int:
    values = list(form.values)
    values[0:2], values[2:4] = form.values[2:4], form.values[0:2]
    values[-2:] = ({0: 1, 1: 0}.get(v, v) for v in form.values[-2:])
    other = space.architecture(values)
    assert space.canonical(other) == form
    return len({form, other})


def test_other_trees_are_refused() -> None:
    with pytest.raises(InputError, match=r"leaves 6 of a tree; accepted: 2, 4, 8"):
        RecurrentTree(6)
    space = spaces.get("recurrent-tree")
    with pytest.raises(InputError, match="node 0 activation"):
        space.from_text(" ".join(["0", "7", *["0"] * 32]))
