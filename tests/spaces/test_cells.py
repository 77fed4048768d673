"""The cell spaces of NASNet, PNAS and ENAS: sizes, neighbours, text and isomorphic cells."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.spaces._cells import Block, CellSpace, relabelled
from transnas.spaces.pnas import OPERATIONS

PNASNET_5 = (
    "cell:sep_conv_5x5~1+max_pool_3x3~1|sep_conv_7x7~0+max_pool_3x3~0|"
    "sep_conv_5x5~0+sep_conv_3x3~0|sep_conv_3x3~4+max_pool_3x3~0|sep_conv_3x3~1+skip_connect~0"
)
ENAS = "0 2 0 0 0 4 0 1 0 4 1 1 1 0 0 1 0 2 1 1 / 1 0 1 0 0 3 0 2 1 1 3 1 1 0 0 4 0 3 1 1"


def get(name: str) -> CellSpace:
    space = spaces.get(name)
    assert isinstance(space, CellSpace)
    return space


@pytest.mark.parametrize(
    ("name", "size", "neighbours"),
    [
        ("nasnet", (720**2 * (13**2 * 2) ** 5) ** 2, 310),
        ("pnas", 556_627_761_561_600, 100),
        ("enas-micro", (5**5 * 720) ** 4, 140),
    ],
)
def test_sizes_and_neighbours_are_as_published(name: str, size: int, neighbours: int) -> None:
    space = get(name)
    assert space.size == size
    assert len(space.neighbours(space.sample(np.random.default_rng(0)))) == neighbours


@pytest.mark.parametrize("name", ["pnas", "pnas-growing", "enas-micro"])
def test_spaces_of_sums_refuse_concatenations(name: str) -> None:
    space = get(name)
    cells = {kind: c.blocks for kind, c in space.cells(space.at(0)).items()}
    last = space.kinds[-1]
    cells[last] = (*cells[last][:-1], Block(cells[last][-1].pairs, "concat"))
    with pytest.raises(InputError, match=f"'concat' .* accepted by space '{name}': add"):
        space.from_blocks(cells)


def test_one_block_has_136_different_cells_of_256() -> None:
    codes = list(product((0, 1), OPERATIONS, (0, 1), OPERATIONS))
    cells = {relabelled([Block(((i, a), (j, b)))]) for i, a, j, b in codes}
    assert (len(codes), len(cells)) == (256, 136)


def test_canonical_is_the_same_for_every_way_to_write_a_cell() -> None:
    space = get("pnas")
    arch = space.from_text(PNASNET_5)
    assert space.to_text(arch) == PNASNET_5
    blocks = space.cells(arch)["cell"].blocks
    # The third block (state 4) first, pairs of the first block swapped.
    moved = (
        Block(blocks[2].pairs),
        Block((blocks[0].pairs[1], blocks[0].pairs[0])),
        Block(blocks[1].pairs),
        Block(((2, "sep_conv_3x3"), (0, "max_pool_3x3"))),
        blocks[4],
    )
    assert space.canonical(space.from_blocks({"cell": moved})) == space.canonical(arch)
    other = space.from_text(PNASNET_5.replace("sep_conv_3x3~4", "sep_conv_3x3~3"))
    assert space.canonical(other) != space.canonical(arch)


def _every_way_to_write(blocks: tuple[Block, ...]) -> list[tuple[Block, ...]]:
    """Return all renumberings of a cell in which blocks read earlier states only."""
    found = []
    for order in permutations(range(len(blocks))):
        label = {0: 0, 1: 1} | {old + 2: new + 2 for new, old in enumerate(order)}
        named = [
            (sorted((label[s], op) for s, op in blocks[old].pairs), blocks[old].combiner)
            for old in order
        ]
        if all(pairs[1][0] < new + 2 for new, (pairs, _) in enumerate(named)):
            found.append(tuple(Block((a, b), combiner) for (a, b), combiner in named))
    return found


@pytest.mark.parametrize("name", ["pnas", "enas-micro", "nasnet"])
def test_canonical_is_the_smallest_of_every_way_to_write_a_cell(name: str) -> None:
    space, rng = get(name), np.random.default_rng(5)
    for _ in range(15):
        for cell in space.cells(space.sample(rng)).values():
            assert relabelled(cell.blocks) == min(_every_way_to_write(cell.blocks))


def test_equal_blocks_can_be_renumbered_too() -> None:
    twin = Block(((0, "conv"), (1, "conv")))
    blocks = (twin, twin, Block(((2, "pool"), (0, "conv"))), Block(((3, "conv"), (3, "pool"))))
    ways = _every_way_to_write(blocks)
    assert len(ways) == 6
    assert {relabelled(way) for way in ways} == {min(ways)}


def test_unread_blocks_are_the_output() -> None:
    space = get("pnas")
    cell = space.cells(space.from_text(PNASNET_5))["cell"]
    assert cell.outputs == (2, 3, 5, 6)


def test_the_released_enas_cells_read_and_print() -> None:
    space = get("enas-micro")
    arch = space.from_text(ENAS)
    assert space.to_text(arch) == ENAS
    assert space.from_text(ENAS.replace(" / ", " ")) == arch
    normal = space.cells(arch)["normal"].blocks
    assert normal[0] == Block(((0, "avg_pool_3x3"), (0, "sep_conv_3x3")))
    assert normal[3] == Block(((1, "sep_conv_3x3"), (0, "sep_conv_5x5")))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cell:sep_conv_5x5~1", "not readable"),
        (PNASNET_5.replace("~4", "~5"), "'5' is unknown"),
        (PNASNET_5.replace("sep_conv_7x7", "sep_conv_9x9"), "did you mean"),
        (PNASNET_5.replace("cell:", "normal:"), "not readable"),
        (PNASNET_5.replace("+", "&"), "combiner 'concat' of a block is not accepted"),
        (PNASNET_5 + "|sep_conv_3x3~0+sep_conv_3x3~0", "24 codes"),
    ],
)
def test_unreadable_cells_are_refused(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        get("pnas").from_text(text)
