"""The DARTS spaces: sizes, neighbours, published text and isomorphic cells."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.spaces.darts import DARTS, OPERATIONS, Genotype

V2 = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), "
    "('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0), ('skip_connect', 0), "
    "('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], reduce=[('max_pool_3x3', 0), "
    "('max_pool_3x3', 1), ('skip_connect', 2), ('max_pool_3x3', 1), ('max_pool_3x3', 0), "
    "('skip_connect', 2), ('skip_connect', 2), ('max_pool_3x3', 1)], reduce_concat=[2, 3, 4, 5])"
)


@pytest.fixture
def space() -> DARTS:
    found = spaces.get("darts")
    assert isinstance(found, DARTS)
    return found


def test_sizes_are_the_published_ones(space: DARTS) -> None:
    assert space.size == 1_037_664_180**2
    assert spaces.get("darts-none").size == (180 * 8**8) ** 2
    assert spaces.get("darts-s3").size == (180 * 2**8) ** 2


def test_completions_equal_a_count_of_what_the_mask_allows(space: DARTS) -> None:
    arch = space.sample(np.random.default_rng(0))
    for end in (28, 29, 30, 31):
        prefix = arch.values[:end]
        rest = [range(len(c.values)) for c in space.choices[end:]]
        valid = sum(space._valid_codes((*prefix, *tail)) for tail in product(*rest))
        assert space.completions(prefix) == valid


def test_a_published_genotype_reads_and_prints_with_pairs_in_order(space: DARTS) -> None:
    arch = space.from_text(V2.replace("[2, 3, 4, 5]", "range(2, 6)"))
    assert [space.choices[i].values[arch.values[i]] for i in range(8, 12)] == [
        "0",
        "1",
        "skip_connect",
        "sep_conv_3x3",
    ]
    printed = space.to_text(arch)
    assert space.from_text(printed) == arch
    assert printed.startswith("Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ")
    assert str(Genotype.parse(V2)) == V2


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("('skip_connect', 0), ('dil_conv_3x3', 2)", "('skip_connect', 0)", "not readable"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 5)", "not readable"),
        ("normal_concat=[2, 3, 4, 5]", "normal_concat=range(0, 99999999999)", "not readable"),
        ("normal_concat=[2, 3, 4, 5]", f"normal_concat=[{'9' * 5000}]", "not readable"),
        ("('dil_conv_3x3', 2)", "('dil_conv_3x3', 0)", "input 2"),
        ("('dil_conv_3x3', 2)", "('sep_conv_7x7', 2)", "sep_conv_7x7"),
        ("('dil_conv_3x3', 2)", "('none', 2)", "none"),
        ("reduce_concat=[2, 3, 4, 5]", "reduce_concat=[3, 4, 5]", r"accepted .* \[2, 3, 4, 5\]"),
    ],
)
def test_genotypes_outside_the_space_are_refused(
    space: DARTS, old: str, new: str, reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        space.from_text(V2.replace(old, new))


def test_none_is_of_the_space_of_snas_only(space: DARTS) -> None:
    text = V2.replace("('dil_conv_3x3', 2)", "('none', 2)")
    other = spaces.get("darts-none")
    assert "('none', 2)" in other.to_text(other.from_text(text))
    assert space.operations == OPERATIONS


def test_an_edit_changes_one_operation_or_one_predecessor(space: DARTS) -> None:
    arch = space.sample(np.random.default_rng(1))
    near = space.neighbours(arch)
    assert len(near) == len(set(near)) == 120
    # 8 edges a cell with 6 other operations each; nodes 1, 2, 3 have 1, 2, 3 unused states.
    before = {k: c.blocks for k, c in space.cells(arch).items()}
    operation_edits = 0
    for other in near:
        after = {k: c.blocks for k, c in space.cells(other).items()}
        changed = [
            (set(b.pairs), set(a.pairs))
            for kind in before
            for b, a in zip(before[kind], after[kind], strict=True)
            if a != b
        ]
        assert len(changed) == 1
        old, new = changed[0]
        assert len(old - new) == len(new - old) == 1
        operation_edits += {s for s, _ in old} == {s for s, _ in new}
    assert operation_edits == 96


def test_renumbered_cells_have_one_canonical_form(space: DARTS) -> None:
    cell = "('sep_conv_3x3', 0), ('sep_conv_3x3', 1), {}, {}, ('max_pool_3x3', 0), ({}"
    a, b = "('skip_connect', 0), ('skip_connect', 1)", "('max_pool_3x3', 0), ('skip_connect', 1)"
    reduce = V2[V2.index("reduce=") :]
    texts = [
        f"Genotype(normal=[{cell.format(x, y, tail)}], normal_concat=[2, 3, 4, 5], {reduce}"
        for x, y, tail in ((a, b, "'skip_connect', 3)"), (b, a, "'skip_connect', 4)"))
    ]
    first, second = (space.from_text(t) for t in texts)
    assert first != second
    assert space.canonical(first) == space.canonical(second)
    other = space.from_text(texts[0].replace("'skip_connect', 3", "'skip_connect', 4"))
    assert space.canonical(other) != space.canonical(first)


def test_paths_and_graph_of_a_known_cell(space: DARTS) -> None:
    arch = space.from_text(V2)
    # Paths into nodes 2, 3, 4, 5: normal 2, 2, 2, 1 + 2; reduce 2, 2 + 1, 1 + 2, 2 + 1.
    paths = space.paths(arch)
    assert sum(p[0].startswith("normal") for p in paths) == 9
    assert sum(p[0].startswith("reduce") for p in paths) == 11
    assert ("normal c_{k-2}", "sep_conv_3x3", "dil_conv_3x3") in paths
    graph = space.graph(arch)
    assert ("normal 2", "normal 5", "dil_conv_3x3") in graph.edges
    assert len(graph.edges) == 2 * (8 + 4)
    pairs = list(combinations(graph.nodes, 2))
    assert all((s, t) in pairs for s, t, _ in graph.edges)
