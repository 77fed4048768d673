"""The recurrent spaces: published sizes, cells and worked examples."""

from __future__ import annotations

from math import factorial

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.spaces._recurrent import RecurrentSpace

V2 = (
    "Genotype(recurrent=[('sigmoid', 0), ('relu', 1), ('relu', 1), ('identity', 1), ('tanh', 2), "
    "('sigmoid', 5), ('tanh', 3), ('relu', 5)], concat=range(1, 9))"
)


def get(name: str) -> RecurrentSpace:
    space = spaces.get(name)
    assert isinstance(space, RecurrentSpace)
    return space


def test_sizes_and_neighbours_are_as_published() -> None:
    rng = np.random.default_rng(0)
    darts, enas = get("darts-recurrent"), get("enas-recurrent")
    assert darts.size == 4**8 * factorial(8) == 2_642_411_520
    assert enas.size == 4**12 * factorial(11)
    assert len(enas.choices) == 23
    assert len(darts.neighbours(darts.sample(rng))) == 52
    assert len(enas.neighbours(enas.sample(rng))) == 91


def test_the_published_cells() -> None:
    darts, enas = get("darts-recurrent"), get("enas-recurrent")
    assert darts.to_text(darts.from_text(V2)) == V2
    nodes = [("tanh", 0), ("tanh", 1), ("relu", 1), ("tanh", 3), ("tanh", 3), ("relu", 3)]
    nodes += [("relu", 4), ("relu", 7), ("relu", 8), ("relu", 8), ("relu", 8)]
    arch = enas.from_nodes(nodes, "tanh")
    assert enas.outputs(enas.nodes(arch)) == (2, 5, 6, 9, 10, 11)
    assert enas.to_text(arch) == "0 0 0 1 0 1 1 3 0 3 0 3 1 4 1 7 1 8 1 8 1 8 1"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("concat=range(1, 9)", "concat=[7, 8]"),
        ("concat=range(1, 9)", "concat=range(1, 9, 2)"),
        (", concat=range(1, 9)", ""),
        ("('relu', 5)]", "('relu', 5), ('tanh', 7)]"),
        ("('relu', 5)]", "('relu', 5.5)]"),
    ],
)
def test_cells_of_other_outputs_or_nodes_are_refused(old: str, new: str) -> None:
    with pytest.raises(InputError, match=r"not readable.* 8 nodes|output is \[7, 8\]"):
        get("darts-recurrent").from_text(V2.replace(old, new))


def test_renumbered_trees_have_one_canonical_form() -> None:
    space = get("enas-recurrent")
    rng = np.random.default_rng(0)
    arch = space.sample(rng)
    nodes = space.nodes(arch)
    forms = set()
    for _ in range(50):
        # A random topological order of the tree.
        label, order = {0: 0}, []
        while len(label) <= len(nodes):
            ready = [i for i, (_, s) in enumerate(nodes, 1) if s in label and i not in label]
            chosen = int(rng.choice(ready))
            order.append((nodes[chosen - 1][0], label[nodes[chosen - 1][1]]))
            label[chosen] = len(label)
        moved = space.from_nodes(order, space.root(arch))
        forms.add(moved)
        assert space.canonical(moved) == space.canonical(arch)
        assert sorted(space.paths(moved)) == sorted(space.paths(arch))
    assert len(forms) > 10


def test_the_canonical_form_tells_apart_as_many_trees_as_there_are() -> None:
    space = get("darts-recurrent")
    rest = (("tanh", 0),) * 5
    few = {
        space.canonical(space.from_nodes(((a, 0), (b, p), (c, q), *rest)))
        for a in ("tanh", "relu")
        for b in ("tanh", "relu")
        for c in ("tanh", "relu")
        for p in (0, 1)
        for q in (0, 1, 2)
    }
    # Unordered forests of three nodes with two labels: three single nodes 4; a pair (4) and a
    # single node (2); a chain 8; a fork, two roots with three sets of two children each.
    assert len(few) == 4 + 4 * 2 + 8 + 2 * 3
