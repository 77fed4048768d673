"""The supernet of ENAS micro cells: ten mixed pairs in each of the two kinds of cells.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.4:
every (block, pair, state, operation) has weights of its own, and so has every block in what reads
the cell's output.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor, nn

from transnas.networks._pairs import PairCell, PairRows, source_cell
from transnas.networks._registry import skeleton_from
from transnas.networks._supernet import SEARCH, Form, Operation, Supernet, register_supernet
from transnas.networks.darts import Frame, Skeleton, preprocess
from transnas.networks.relaxations import Mix, Relaxation
from transnas.networks.separable import cell_operation
from transnas.spaces import Architecture, Space
from transnas.spaces.enas_micro import ENASMicro
from transnas.tasks import Signature

__all__ = ["ENASMicroSupernet"]

_MODE = replace(SEARCH, shift_by_bias=False)


@register_supernet("enas-micro")
class ENASMicroSupernet(Supernet):
    """All pairs of ENAS cells; keywords are the fields of DARTS' `Skeleton`, as in `build`."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, ENASMicro)
        rows = PairRows(space)
        chosen = skeleton_from(Skeleton, skeleton)
        super().__init__(space, signature, relaxation, form, rows.available, asdict(chosen))
        self.layout = rows
        self.settings = replace(chosen, auxiliary=False, drop_path=0.0)

        def make(
            reduces: bool, widths: tuple[int, int], channels: int, previous_reduces: bool
        ) -> tuple[nn.Module, int]:
            inputs = {
                "older": preprocess(widths[0], channels, previous_reduces, _MODE),
                "newer": preprocess(widths[1], channels, False, _MODE),
            }
            cell = PairCell(
                rows,
                "reduce" if reduces else "normal",
                inputs,
                (channels, channels),
                channels,
                2 if reduces else 1,
                lambda name, ci, co, stride: cell_operation(name, ci, co, stride, _MODE),
                self.allowed,
                form=form,
            )
            return cell, rows.blocks

        self.network = Frame(make, signature, self.settings, _MODE.track_running_stats)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the weights of `mix` [20, 30]."""
        return self.network.run(x, mix)[0]

    def codes(self, arch: Architecture) -> tuple[int, ...]:
        """Return `state * 5 + operation` of each pair."""
        return self.layout.codes(self.layout.space.cells(arch))

    def operation(self, row: int, code: int) -> Operation:
        """See `PairRows.operation`."""
        return self.layout.operation(self.network.cells, row, code)

    def discretise(self, shares: Tensor) -> Architecture:
        """Return the strongest state and operation of every pair."""
        return self.layout.architecture(shares.argmax(dim=1).tolist())

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return `network.cells.0.sources.1_0.edges.4.sep_conv_3x3.` for `cells.0.edges.4.`."""

        def inner(match: re.Match[str]) -> str:
            row = self.layout.pair(self._kind(int(match[1])), 0, 0) + int(match[2])
            code = codes[row]
            assert code is not None
            state, operation = divmod(code, len(self.layout.operations))
            name = self.layout.operations[operation]
            return f"cells.{match[1]}.sources.{state}_0.edges.{row}.{name}."

        return "network." + re.sub(r"cells\.(\d+)\.edges\.(\d+)\.", inner, name)

    def shared_value(
        self, shared: Mapping[str, Tensor], name: str, codes: Sequence[int | None]
    ) -> Tensor | None:
        """Return the weight, and of one that reads a cell the part that reads unread blocks."""
        value = super().shared_value(shared, name, codes)
        source = source_cell(name, self.settings.layers)
        if value is None or source is None:
            return value
        arch = self.layout.architecture([code for code in codes if code is not None])
        cell = self.layout.space.cells(arch)[self._kind(source)]
        filters = self.settings.channels * 2 ** sum(
            r <= source for r in {*self.settings.reductions}
        )
        return value[:, self.layout.output_channels(cell, filters)]

    def _kind(self, index: int) -> str:
        return "reduce" if index in self.settings.reductions else "normal"
