"""Mixed cells of NASNet-like spaces: every block reads two (state, operation) pairs.

A row of the logits is a pair, and its operations are all (state, operation) that the pair may be:
code `state * operations + operation`. Spaces with combiners have one more row a block. A cell's
output is the concatenation of the blocks that no block reads: here each block is scaled by how
much of it is unread, the product of what later pairs leave of it, which is exact for one path.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property

import torch
from torch import Tensor, nn

from transnas.networks._mixed import MixedEdges, recomputed
from transnas.networks._supernet import Form, Operation
from transnas.networks.relaxations import Mix
from transnas.spaces import Architecture
from transnas.spaces._cells import Block, Cell, CellSpace

__all__ = ["MakeOperation", "PairCell", "PairRows", "source_cell"]

MakeOperation = Callable[[str, int, int, int], nn.Module]
"""(name, channels in, channels out, stride) -> operation."""


class PairRows:
    """Which row and code of the logits stands for which choice of a `CellSpace`."""

    def __init__(self, space: CellSpace) -> None:
        self.space = space
        self.operations: tuple[str, ...] = space.choices[2].values
        has_combiner = space.choices[4].name.endswith("combiner")
        self.combiners: tuple[str, ...] = space.choices[4].values if has_combiner else ("add",)
        self.a_block = 3 if has_combiner else 2
        self.blocks = len(space.choices) // len(space.kinds) // (5 if has_combiner else 4)

    def pair(self, kind: str, block: int, which: int) -> int:
        """Return the row of pair `which` (0 or 1) of a block."""
        start = self.space.kinds.index(kind) * self.blocks + block
        return self.a_block * start + which

    def readers(self, kind: str, state: int) -> list[int]:
        """Return the rows of the pairs that may read a state."""
        later = range(max(0, state - 1), self.blocks)
        return [self.pair(kind, b, k) for b in later for k in (0, 1)]

    @cached_property
    def available(self) -> list[range]:
        """Codes of each row."""
        rows: list[range] = []
        for _ in self.space.kinds:
            for block in range(self.blocks):
                rows += [range((block + 2) * len(self.operations))] * 2
                rows += [range(2)] if self.a_block == 3 else []
        return rows

    def codes(self, cells: Mapping[str, Cell]) -> tuple[int, ...]:
        """Return the code of each row in an architecture."""
        found: list[int] = []
        for kind in self.space.kinds:
            for block in cells[kind].blocks:
                found += [
                    s * len(self.operations) + self.operations.index(o) for s, o in block.pairs
                ]
                found += [self.combiners.index(block.combiner)] if self.a_block == 3 else []
        return tuple(found)

    def operation(self, cells: Iterable[nn.Module], row: int, code: int) -> Operation:
        """Return what a code of a row stands for in a network of these mixed cells.

        Modules are those that read a sum, where others read the concatenation of the same state.
        """
        kind, place = divmod(row, self.a_block * self.blocks)
        if place % self.a_block == 2:
            return Operation(self.combiners[code])
        state, operation = divmod(code, len(self.operations))
        own: tuple[nn.Module, ...] = ()
        for cell in cells:
            assert isinstance(cell, PairCell)
            if cell.kind == self.space.kinds[kind]:
                edges = cell.sources[f"{state}_0"]
                assert isinstance(edges, MixedEdges)
                own += edges.own(row, operation)
        return Operation(self.operations[operation], own)

    def architecture(self, codes: Sequence[int]) -> Architecture:
        """Inverse of `codes`."""
        cells: dict[str, list[Block]] = {}
        for kind in self.space.kinds:
            cells[kind] = []
            for block in range(self.blocks):
                row = self.pair(kind, block, 0)
                one, two = (divmod(codes[row + k], len(self.operations)) for k in (0, 1))
                combiner = self.combiners[codes[row + 2] if self.a_block == 3 else 0]
                pairs = (one[0], self.operations[one[1]]), (two[0], self.operations[two[1]])
                cells[kind].append(Block(pairs, combiner))
        return self.space.from_blocks(cells)

    def of_state(self, mix: Mix, state: int) -> Mix:
        """Return the part of `mix` that reads a state, with operations as codes."""
        n = len(self.operations)
        first, last = state * n, (state + 1) * n
        if mix.paths is None:
            return Mix(mix.weights[:, first:last])
        paths = tuple(tuple(c - first for c in path if first <= c < last) for path in mix.paths)
        return Mix(mix.weights[:, first:last], paths)

    def width(self, filters: int) -> int:
        """Return the channels of a mixed cell's output: all blocks, joined in every way."""
        return self.blocks * filters * (1 if self.a_block == 2 else 3)

    def output_channels(self, cell: Cell, filters: int) -> list[int]:
        """Return where a discrete cell's output channels are in the mixed cell's output."""
        found: list[int] = []
        for state in cell.outputs:
            block = state - 2
            first = self.width(filters) // self.blocks * block
            concat = cell.blocks[block].combiner == "concat"
            first += filters if concat else 0
            found += range(first, first + filters * (2 if concat else 1))
        return found


class PairCell(nn.Module):
    """A cell of one kind whose pairs are mixtures.

    `inputs` bring the network's states to states 0 and 1 of the cell, which have `channels`.
    """

    def __init__(
        self,
        rows: PairRows,
        kind: str,
        inputs: Mapping[str, nn.Module],
        channels: tuple[int, int],
        filters: int,
        stride: int,
        make: MakeOperation,
        allowed: Sequence[Sequence[int]],
        *,
        form: Form,
    ) -> None:
        super().__init__()
        self.layout, self.kind, self.checkpoint = rows, kind, form.checkpoint
        self.filters, self.stride = filters, stride
        self.channels = rows.width(filters)
        for name, module in inputs.items():
            self.add_module(name, module)
        self.inputs = tuple(inputs)
        self.sources = nn.ModuleDict()
        for state in range(rows.blocks + 1):
            variants = [channels[state]] if state < 2 else [filters, 2 * filters]
            n = len(rows.operations)
            own = [[c - state * n for c in row if 0 <= c - state * n < n] for row in allowed]
            for variant, width in enumerate(variants[: len(rows.combiners)]):

                def build(name: str, width: int = width, state: int = state) -> nn.Module:
                    return make(name, width, filters, stride if state < 2 else 1)

                edges = MixedEdges(
                    rows.readers(kind, state), rows.operations, build, own, form.backend
                )
                self.sources[f"{state}_{variant}"] = edges

    def forward(self, first: Tensor, second: Tensor, mix: Mix) -> Tensor:
        """Inputs of states 0 and 1, [B, C, H, W] each -> [B, channels, H', W']."""
        if self.checkpoint:
            return recomputed(self._blocks, first, second, mix)
        return self._blocks(first, second, mix)

    def _blocks(self, first: Tensor, second: Tensor, mix: Mix) -> Tensor:
        one, two = (self.get_submodule(name) for name in self.inputs)
        inputs = one(first), two(second)
        b, _, h, w = inputs[0].shape
        size = (b, self.filters, -(-h // self.stride), -(-w // self.stride))
        zeros = inputs[0].new_zeros(size)
        pairs: dict[int, Tensor] = {}
        outputs: list[Tensor] = []
        for state in range(self.layout.blocks + 2):
            variants = [inputs[state]] if state < 2 else self._join(state - 2, pairs, zeros)
            shares = [None] if state < 2 else self._combined(state - 2, mix)
            if state > 1:
                outputs += self._unread(state, variants, shares, mix)
            if state > self.layout.blocks:
                break
            of_state = self.layout.of_state(mix, state)
            for variant, (x, share) in enumerate(zip(variants, shares, strict=True)):
                edges = self.sources[f"{state}_{variant}"]
                for row, term in edges(x, of_state):
                    term = term if share is None else share * term
                    pairs[row] = pairs[row] + term if row in pairs else term
        return torch.cat(outputs, dim=1)

    def _join(self, block: int, pairs: Mapping[int, Tensor], zeros: Tensor) -> list[Tensor]:
        """Return the block's state in each way to join its pairs."""
        one, two = (pairs.get(self.layout.pair(self.kind, block, k), zeros) for k in (0, 1))
        ways = {"add": lambda: one + two, "concat": lambda: torch.cat([one, two], dim=1)}
        return [ways[name]() for name in self.layout.combiners]

    def _combined(self, block: int, mix: Mix) -> list[Tensor | None]:
        """Return the share of each way to join the block's pairs; None: the only way."""
        if len(self.layout.combiners) == 1:
            return [None]
        row = self.layout.pair(self.kind, block, 0) + 2
        return [mix.weights[row, code] for code in range(len(self.layout.combiners))]

    def _unread(
        self, state: int, variants: Sequence[Tensor], shares: Sequence[Tensor | None], mix: Mix
    ) -> list[Tensor]:
        """Return the state in each variant, scaled by its share and how much is unread."""
        readers = self.layout.readers(self.kind, state)
        n = len(self.layout.operations)
        reads = mix.weights[readers, state * n : (state + 1) * n].sum(dim=1).clamp(0.0, 1.0)
        unread = (1.0 - reads).prod()
        return [
            (unread if share is None else unread * share) * x
            for x, share in zip(variants, shares, strict=True)
        ]


def source_cell(name: str, cells: int) -> int | None:
    """Return which of a network's `cells` the weight called `name` reads; None: not one of them."""
    reads = re.fullmatch(r"cells\.(\d+)\.(older|newer)\.\w+\.weight", name)
    if reads:
        source = int(reads[1]) - (2 if reads[2] == "older" else 1)
        return source if source >= 0 else None
    return cells - 1 if name == "head.weight" else None
