"""The supernet of DARTS cells: 14 mixed edges in each of the two kinds of cells.

Liu et al., "DARTS: Differentiable Architecture Search", ICLR 2019, section 2. Rows of the logits:
the edges of the normal cell, then those of the reduction cell; edges into node 2 first, from state
0 upwards. While searching, pooling is normalised, so that it does not outweigh convolutions.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from transnas.networks._mixed import MixedEdges, NodeSums, PartialChannels, recomputed
from transnas.networks._registry import skeleton_from
from transnas.networks._supernet import SEARCH, Form, Operation, Supernet, register_supernet
from transnas.networks.darts import Frame, Network, Skeleton, preprocess
from transnas.networks.relaxations import Mix, Relaxation
from transnas.networks.separable import cell_operation
from transnas.spaces import Architecture, Space
from transnas.spaces._cells import Block
from transnas.spaces.darts import DARTS, NODES
from transnas.tasks import Signature

__all__ = ["EDGES", "MODE", "DARTSSupernet", "MixedCell"]

MODE = replace(SEARCH, pool_bn=True, shift_by_bias=False)
EDGES = tuple((source, node) for node in range(2, NODES + 2) for source in range(node))
"""Source and target of each edge of a cell."""


class MixedCell(nn.Module):
    """A cell in which every node reads every earlier state; `reduces` picks its rows."""

    def __init__(
        self,
        operations: Sequence[str],
        channels_in: tuple[int, int],
        channels: int,
        *,
        reduces: bool,
        previous_reduces: bool,
        form: Form = Form(),  # noqa: B008 - immutable
        allowed: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.checkpoint = form.checkpoint
        self.first_row = len(EDGES) if reduces else 0
        self.stride = 2 if reduces else 1
        self.older = preprocess(channels_in[0], channels, previous_reduces, MODE)
        self.newer = preprocess(channels_in[1], channels, False, MODE)
        self.sources = nn.ModuleList()
        self.parts: list[PartialChannels] = []
        for state in range(NODES + 1):
            rows = [self.first_row + e for e, (source, _) in enumerate(EDGES) if source == state]
            part = PartialChannels(channels, form.partial, self.stride if state < 2 else 1)

            def make(name: str, part: PartialChannels = part) -> nn.Module:
                return cell_operation(name, part.channels, part.channels, part.stride, MODE)

            self.parts.append(part)
            self.sources.append(MixedEdges(rows, operations, make, allowed, form.backend))

    def forward(self, older: Tensor, newer: Tensor, mix: Mix) -> Tensor:
        """[B, C0, H0, W0], [B, C1, H, W] -> [B, 4 C, H', W']."""
        if self.checkpoint:
            return recomputed(self._nodes, older, newer, mix)
        return self._nodes(older, newer, mix)

    def _nodes(self, older: Tensor, newer: Tensor, mix: Mix) -> Tensor:
        inputs = self.older(older), self.newer(newer)
        sums = NodeSums(mix, self.parts[0].parts)
        zeros = torch.zeros_like(inputs[1][:, :, :: self.stride, :: self.stride])
        for state, (edges, part) in enumerate(zip(self.sources, self.parts, strict=True)):
            assert isinstance(edges, MixedEdges)
            x = inputs[state] if state < 2 else sums.get(state, zeros)
            sums.collect(edges, x, part, self._target)
        return torch.cat([sums.get(node, zeros) for node in range(2, NODES + 2)], dim=1)

    def _target(self, row: int) -> int:
        return EDGES[row - self.first_row][1]


@register_supernet("darts")
@register_supernet("darts-none")
@register_supernet("darts-s2")
@register_supernet("darts-s3")
@register_supernet("darts-s4")
class DARTSSupernet(Supernet):
    """All pairs of cells in one network; cells of a kind share logits and sample.

    Keywords are the fields of `Skeleton`; the auxiliary head and drop path are for stand-alone
    training, and a supernet has neither.
    """

    has_edges = True

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, DARTS)
        operations = space.operations
        available = [range(len(operations))] * (2 * len(EDGES))
        nodes = [*range(2, NODES + 2)] * 2
        chosen = skeleton_from(Skeleton, skeleton)
        super().__init__(space, signature, relaxation, form, available, asdict(chosen), nodes)
        self.darts = space

        def make(
            reduces: bool, widths: tuple[int, int], channels: int, previous_reduces: bool
        ) -> tuple[nn.Module, int]:
            cell = MixedCell(
                operations,
                widths,
                channels,
                reduces=reduces,
                previous_reduces=previous_reduces,
                form=form,
                allowed=self.allowed,
            )
            return cell, NODES

        self.settings = replace(chosen, auxiliary=False, drop_path=0.0)
        self.network = Frame(make, signature, self.settings, MODE.track_running_stats)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the edge weights of `mix` [28, operations]."""
        return self.network.run(x, mix)[0]

    def twin(self, arch: Architecture) -> nn.Module:
        """Return the discrete network of `arch` with normalised pools."""
        genotype = self.darts.genotype(arch)
        with torch.random.fork_rng(devices=[]):
            network = Network(genotype, self.signature, self.settings, MODE).to(self.logits)
        self.copy_into(network, arch)
        return network

    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        """Return the operation of each edge; None for the edges that the cells do not have."""
        found: list[int | None] = []
        for cell in self.darts.cells(arch).values():
            chosen = {
                (source, b + 2): self.darts.operations.index(name)
                for b, block in enumerate(cell.blocks)
                for source, name in block.pairs
            }
            found += [chosen.get(edge) for edge in EDGES]
        return tuple(found)

    def operation(self, row: int, code: int) -> Operation:
        """Return the operation of an edge, with its modules in all cells of the kind."""
        own: tuple[nn.Module, ...] = ()
        for cell in self.network.cells:
            assert isinstance(cell, MixedCell)
            if 0 <= row - cell.first_row < len(EDGES):
                edges = cell.sources[EDGES[row - cell.first_row][0]]
                assert isinstance(edges, MixedEdges)
                own += edges.own(row, code)
        return Operation(self.darts.operations[code], own)

    def selectable(self, row: int) -> tuple[int, ...]:
        """Return the operations of a row, without `none` where cells have none."""
        names = self.darts.operations
        return tuple(
            code for code in self.allowed[row] if names[code] != "none" or self.darts.derives_none
        )

    def discretise(self, shares: Tensor) -> Architecture:
        """Return, for each node, the two edges with the largest share of one operation.

        Where cells have no `none`, it counts among the shares but is not chosen.
        """
        names, shares = self.darts.operations, shares.clone()
        if "none" in names and not self.darts.derives_none:
            shares[:, names.index("none")] = -1.0
        strength, best = (t.view(2, len(EDGES)).tolist() for t in shares.max(dim=1))
        cells = {}
        for k, kind in enumerate(self.darts.kinds):
            blocks = []
            for node in range(2, NODES + 2):
                into = [e for e, (_, target) in enumerate(EDGES) if target == node]
                first, second = sorted(sorted(into, key=lambda e: -strength[k][e])[:2])
                pairs = [(EDGES[e][0], names[best[k][e]]) for e in (first, second)]
                blocks.append(Block((pairs[0], pairs[1])))
            cells[kind] = blocks
        return self.darts.from_blocks(cells)

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return e.g. `network.cells.0.sources.1.edges.4.sep_conv_3x3.` for `cells.0.edges.3.`."""

        def inner(match: re.Match[str]) -> str:
            first = len(EDGES) if int(match[1]) in self.settings.reductions else 0
            rows = [r for r in range(first, first + len(EDGES)) if codes[r] is not None]
            row = rows[int(match[2])]
            code = codes[row]
            assert code is not None
            source, operation = EDGES[row - first][0], self.darts.operations[code]
            return f"cells.{match[1]}.sources.{source}.edges.{row}.{operation}."

        return "network." + re.sub(r"cells\.(\d+)\.edges\.(\d+)\.", inner, name)
