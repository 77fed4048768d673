"""Cells of one kind that grow block by block: progressive search begins with the smallest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import prod as _product

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError, unknown
from transnas.spaces._base import Architecture, Choice
from transnas.spaces._cells import Block, CellSpace, cell_choices

__all__ = ["ABSENT", "GrowingCells", "growing_choices"]

ABSENT = "-"
"""The value of every choice of a block that is not there."""


def growing_choices(kind: str, blocks: int, operations: tuple[str, ...]) -> tuple[Choice, ...]:
    """Return the choices of a `GrowingCells`; every block but the first may be absent."""
    choices = cell_choices((kind,), blocks, operations)
    return (*choices[:4], *(Choice(c.name, (*c.values, ABSENT)) for c in choices[4:]))


class GrowingCells(CellSpace):
    """Cells of 1 to B blocks of sums; after an absent block there is nothing more."""

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Let a block be absent as a whole, and after an absent one only absent ones."""
        present = np.array([v != ABSENT for v in self.choices[len(prefix)].values])
        if prefix and self._absent(prefix):
            return ~present
        return present if len(prefix) % 4 else np.ones_like(present)

    def completions(self, prefix: Sequence[int]) -> int:
        """Return how many valid sequences start with `prefix`, without listing them."""
        if prefix and self._absent(prefix):
            return 1
        blocks, begun = divmod(len(prefix), 4)
        if not begun:
            return self._continuations(blocks) - (blocks == 0)
        ways = _product(self._present(i) for i in range(len(prefix), 4 * blocks + 4))
        return ways * self._continuations(blocks + 1)

    def _continuations(self, blocks: int) -> int:
        """Return in how many ways a cell of so many blocks goes on, ending included."""
        total, ways = 1, 1
        for b in range(blocks, len(self.choices) // 4):
            ways *= _product(self._present(i) for i in range(4 * b, 4 * b + 4))
            total += ways
        return total

    def _present(self, choice: int) -> int:
        """Return how many values a choice has in a block that is there."""
        return sum(v != ABSENT for v in self.choices[choice].values)

    def _absent(self, prefix: Sequence[int]) -> bool:
        return self.choices[len(prefix) - 1].values[prefix[-1]] == ABSENT

    def blocks(self, arch: Architecture) -> int:
        """Return how many blocks a cell has."""
        return sum(
            c.values[v] != ABSENT for c, v in zip(self.choices[::4], arch.values[::4], strict=True)
        )

    def block_codes(self, blocks: int) -> npt.NDArray[np.int64]:
        """Return the codes of every block that a cell of `blocks` blocks may grow, [E, 4].

        A block's pairs may be swapped without changing the cell; the smaller way is listed.
        """
        if 4 * blocks == len(self.choices):
            return np.empty((0, 4), dtype=np.int64)
        states, ops = (range(self._present(4 * blocks + k)) for k in (0, 2))
        ways = np.array(list(product(states, states, ops, ops)), dtype=np.int64)
        one, two, first, second = ways.T
        found: npt.NDArray[np.int64] = ways[(one < two) | ((one == two) & (first <= second))]
        return found

    def of_blocks(self, codes: Sequence[int]) -> Architecture:
        """Return the cell whose blocks have these codes, four a block, without checking them."""
        absent = (len(c.values) - 1 for c in self.choices[len(codes) :])
        return Architecture(self.name, (*codes, *absent))

    def extensions(self, arch: Architecture | None = None) -> Iterator[Architecture]:
        """Yield the cells with one more block than `arch` (None: with one); none for the largest.

        Blocks are those of `block_codes`.
        """
        kept = () if arch is None else arch.values[: 4 * self.blocks(arch)]
        for new in self.block_codes(len(kept) // 4).tolist():
            yield self.of_blocks((*kept, *new))

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """Return cells with one changed choice, one block more, or the last block gone."""
        count = self.blocks(arch)
        found = []
        for i in range(4 * count):
            for value, word in enumerate(self.choices[i].values):
                if value != arch.values[i] and word != ABSENT:
                    found.append(
                        Architecture(self.name, (*arch.values[:i], value, *arch.values[i + 1 :]))
                    )
        added = self.choices[4 * count : 4 * count + 4]
        if added:
            end = tuple(len(c.values) - 1 for c in self.choices[4 * count + 4 :])
            kept = arch.values[: 4 * count]
            ranges = [range(len(c.values) - 1) for c in added]
            found += [Architecture(self.name, (*kept, *new, *end)) for new in product(*ranges)]
        if count > 1:
            shorter = arch.values[: 4 * (count - 1)]
            gone = tuple(len(c.values) - 1 for c in self.choices[4 * (count - 1) :])
            found.append(Architecture(self.name, (*shorter, *gone)))
        return found

    def from_blocks(self, cells: Mapping[str, Sequence[Block]]) -> Architecture:
        """Return the architecture of a cell of up to B blocks; raises `InputError`."""
        codes: list[int] = []
        for block in cells[self.kinds[0]]:
            codes += self._codes(len(codes), self._words(block))
        codes += [len(c.values) - 1 for c in self.choices[len(codes) :]]
        return self.architecture(codes)

    def _codes(self, start: int, words: Sequence[str]) -> list[int]:
        found = []
        for i, word in enumerate(words, start=start):
            if i >= len(self.choices):
                raise InputError(
                    f"the cell has more blocks than {len(self.choices) // 4}; accepted by space "
                    f"{self.name!r}: 1 to {len(self.choices) // 4}"
                )
            if word not in self.choices[i].values or word == ABSENT:
                raise unknown(
                    f"choice {self.choices[i].name!r} value", word, self.choices[i].values
                )
            found.append(self.choices[i].values.index(word))
        return found

    def _read_blocks(self, words: Sequence[str]) -> tuple[Block, ...]:
        return super()._read_blocks([w for w in words if w != ABSENT])

    def referents(self, choice: int) -> tuple[int | None, ...]:
        """Return the states that an input may be; an absent block reads nothing."""
        if " input " not in self.choices[choice].name:
            return ()
        states = self.choices[choice].values
        return tuple(
            None if s == ABSENT else (-1 - int(s) if int(s) < 2 else 4 * (int(s) - 1) - 1)
            for s in states
        )
