"""Cells made of blocks: what the DARTS, NASNet, PNAS and ENAS micro spaces share.

States 0 and 1 are the cell's inputs (which of them is the older one differs between spaces);
block b makes state b + 2 from two pairs (state, operation). The cell's output is the concatenation
of some of its states.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from transnas._errors import InputError
from transnas.spaces._base import Architecture, Choice, Graph, Space

__all__ = ["Block", "Cell", "CellSpace", "cell_choices", "relabelled", "unused_states"]

Pair = tuple[int, str]
"""A state and the operation that is applied to it."""


@dataclass(frozen=True, slots=True, order=True)
class Block:
    """Two operations on two earlier states (perhaps the same one), and how they are joined."""

    pairs: tuple[Pair, Pair]
    combiner: str = "add"


@dataclass(frozen=True, slots=True)
class Cell:
    """Blocks in topological order, and the states that are concatenated as output."""

    blocks: tuple[Block, ...]
    outputs: tuple[int, ...]


def unused_states(blocks: Sequence[Block]) -> tuple[int, ...]:
    """Return the block outputs that no block reads, ascending."""
    read = {state for block in blocks for state, _ in block.pairs}
    return tuple(s for s in range(2, len(blocks) + 2) if s not in read)


def relabelled(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Return the smallest of all ways to write the same cell.

    Pairs are sorted inside a block, and blocks are renumbered in a topological order. The smallest
    is found block by block: of all blocks that may come next the smallest, after each order that
    led to the smallest beginning. Equal cells differ in the order of the output's channels only.
    """
    orders: list[tuple[int, ...]] = [()]
    written: list[Block] = []
    for _ in blocks:
        found = [step for order in orders for step in _next_blocks(blocks, order)]
        smallest = min(block for block, _ in found)
        written.append(smallest)
        orders = [order for block, order in found if block == smallest]
    return tuple(written)


def _next_blocks(
    blocks: Sequence[Block], order: tuple[int, ...]
) -> Iterator[tuple[Block, tuple[int, ...]]]:
    """Yield each block that may follow those of `order`, renumbered, and the order with it."""
    label = {0: 0, 1: 1, **{old + 2: new + 2 for new, old in enumerate(order)}}
    for old, block in enumerate(blocks):
        if old not in order and all(state in label for state, _ in block.pairs):
            first, second = sorted((label[state], op) for state, op in block.pairs)
            yield Block((first, second), block.combiner), (*order, old)


def cell_choices(
    kinds: Sequence[str],
    blocks: int,
    operations: tuple[str, ...],
    combiners: tuple[str, ...] = (),
) -> tuple[Choice, ...]:
    """Return the choices of a `CellSpace`: two inputs, two operations, [combiner] a block."""
    choices = []
    for kind in kinds:
        for state in range(2, blocks + 2):
            earlier = tuple(map(str, range(state)))
            choices += [Choice(f"{kind} {state} input {k}", earlier) for k in (1, 2)]
            choices += [Choice(f"{kind} {state} operation {k}", operations) for k in (1, 2)]
            if combiners:
                choices.append(Choice(f"{kind} {state} combiner", combiners))
    return tuple(choices)


class CellSpace(Space):
    """A space of one or two cells of equally many blocks, with choices as `cell_choices` gives.

    The text form is `kind:op~state+op~state|...;kind:...`; a block that concatenates is written
    with `&` in the place of `+`.
    """

    kinds: tuple[str, ...] = ("normal", "reduce")
    inputs: tuple[str, str] = ("c_{k-2}", "c_{k-1}")
    """Names of states 0 and 1."""

    def outputs(self, blocks: Sequence[Block], kind: str) -> tuple[int, ...]:
        """Return the states that a cell concatenates: those no block reads."""
        return unused_states(blocks)

    # Between codes and cells ----------------------------------------------------------------

    def cells(self, arch: Architecture) -> dict[str, Cell]:
        """Return the cell of each kind."""
        words = [c.values[v] for c, v in zip(self.choices, arch.values, strict=True)]
        a_cell = len(words) // len(self.kinds)
        found = {}
        for k, kind in enumerate(self.kinds):
            blocks = self._read_blocks(words[k * a_cell : (k + 1) * a_cell])
            found[kind] = Cell(blocks, self.outputs(blocks, kind))
        return found

    def from_blocks(self, cells: Mapping[str, Sequence[Block]]) -> Architecture:
        """Return the architecture of these blocks, kind by kind; raises `InputError`."""
        words = [w for kind in self.kinds for block in cells[kind] for w in self._words(block)]
        if len(words) != len(self.choices):
            raise InputError(
                f"the cells have {len(words)} codes; space {self.name!r} "
                f"has {len(self.choices)} choices"
            )
        return self._from_words(words)

    def _words(self, block: Block) -> list[str]:
        """Return the values of a block's choices; raises `InputError` for a combiner it has not."""
        (one, first), (two, second) = block.pairs
        words = [str(one), str(two), first, second]
        if self._a_block == 5:
            return [*words, block.combiner]
        if block.combiner != "add":
            raise InputError(
                f"combiner {block.combiner!r} of a block is not accepted; accepted by space "
                f"{self.name!r}: add"
            )
        return words

    @property
    def _a_block(self) -> int:
        """Choices a block: 5 with a combiner, 4 without."""
        return 5 if self.choices[4].name.endswith("combiner") else 4

    def _read_blocks(self, words: Sequence[str]) -> tuple[Block, ...]:
        blocks = []
        for i in range(0, len(words), self._a_block):
            one, two, first, second, *combiner = words[i : i + self._a_block]
            blocks.append(Block(((int(one), first), (int(two), second)), *combiner))
        return tuple(blocks)

    # Structure ------------------------------------------------------------------------------

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the cells with pairs sorted and blocks renumbered to the smallest form."""
        return self.from_blocks({k: relabelled(c.blocks) for k, c in self.cells(arch).items()})

    def referents(self, choice: int) -> tuple[int | None, ...]:
        """Return the states that an input may be: the cell's inputs, or the ends of blocks."""
        if " input " not in self.choices[choice].name:
            return ()
        start = choice - choice % (len(self.choices) // len(self.kinds))
        states = [int(word) for word in self.choices[choice].values]
        return tuple(-1 - s if s < 2 else start + (s - 1) * self._a_block - 1 for s in states)

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the operations along each path from an input of a cell to its output.

        The first label names the cell and the input. Paths through `none` are left out.
        """
        found: list[tuple[str, ...]] = []
        for kind, cell in self.cells(arch).items():
            into: list[list[tuple[str, ...]]] = [[(f"{kind} {name}",)] for name in self.inputs]
            for block in cell.blocks:
                into.append([(*p, op) for s, op in block.pairs if op != "none" for p in into[s]])
            found += [path for state in cell.outputs if state >= 2 for path in into[state]]
        return tuple(found)

    def graph(self, arch: Architecture) -> Graph:
        """Return the cells side by side; `none` edges are left out."""
        nodes: list[str] = []
        edges: list[tuple[str, str, str]] = []
        for kind, cell in self.cells(arch).items():
            names = [*self.inputs, *map(str, range(2, len(cell.blocks) + 2)), "output"]
            states = [f"{kind} {name}" for name in names]
            nodes += states
            for target, block in zip(states[2:], cell.blocks, strict=False):
                edges += [(states[s], target, op) for s, op in block.pairs if op != "none"]
            edges += [(states[s], states[-1], "concat") for s in cell.outputs]
        return Graph(tuple(nodes), tuple(edges))

    # Text -----------------------------------------------------------------------------------

    def to_text(self, arch: Architecture) -> str:
        """Return `kind:op~state+op~state|...;kind:...`."""
        return ";".join(
            f"{kind}:{'|'.join(map(_block_text, cell.blocks))}"
            for kind, cell in self.cells(arch).items()
        )

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`; raises `InputError` for anything else."""
        heads = [part.partition(":") for part in text.strip().split(";")]
        cells = {kind.strip(): body for kind, _, body in heads}
        if tuple(cells) != self.kinds or len(heads) != len(self.kinds):
            raise self._unreadable(text)
        try:
            blocks = {k: [_read_block(b) for b in body.split("|")] for k, body in cells.items()}
        except ValueError:
            raise self._unreadable(text) from None
        return self.from_blocks(blocks)

    def _unreadable(self, text: str) -> InputError:
        accepted = ";".join(f"{kind}:op~state+op~state|..." for kind in self.kinds)
        return InputError(f"architecture text {text!r} is not readable; accepted: {accepted}")


def _block_text(block: Block) -> str:
    (one, first), (two, second) = block.pairs
    return f"{first}~{one}{'+' if block.combiner == 'add' else '&'}{second}~{two}"


def _read_block(text: str) -> Block:
    """Return the block that `text` writes; raises `ValueError` otherwise."""
    sign = "&" if "&" in text else "+"
    first, second = (_read_pair(pair) for pair in text.split(sign))
    return Block((first, second), "add" if sign == "+" else "concat")


def _read_pair(text: str) -> Pair:
    op, _, state = text.strip().partition("~")
    return int(state), op
