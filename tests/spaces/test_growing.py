"""Cells that grow: published counts, and every cell is reached block by block."""

from __future__ import annotations

from transnas import spaces
from transnas.spaces._growing import GrowingCells, growing_choices


class Small(GrowingCells):
    """One or two blocks of two operations: 16 + 16 x 36 codes."""

    name = "small-growing"
    kinds = ("cell",)
    choices = growing_choices("cell", 2, ("a", "b"))


def test_the_size_is_the_sum_over_the_numbers_of_blocks() -> None:
    sizes, total = 1, 0
    for b in range(1, 6):
        sizes *= (b + 1) ** 2 * 64
        total += sizes
    assert sizes == 556_627_761_561_600  # published: cells of five blocks
    assert spaces.get("pnas-growing").size == total


def test_there_are_136_distinct_cells_of_one_block() -> None:
    space = spaces.get("pnas-growing")
    assert isinstance(space, GrowingCells)
    first = list(space.extensions())
    assert len(first) == len({space.canonical(a) for a in first}) == 136


def test_growing_reaches_every_cell_up_to_isomorphism() -> None:
    space = Small()
    grown = [a for one in space.extensions() for a in (one, *space.extensions(one))]
    for arch in grown:
        space.validate(arch)
    everything = {space.canonical(a) for a in space.architectures()}
    assert len(list(space.architectures())) == space.size == 16 + 16 * 36
    assert {space.canonical(a) for a in grown} == everything
    assert list(space.extensions(grown[1])) == []
