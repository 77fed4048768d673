"""The supernets of NASNet and PNAS cells: ten mixed pairs a cell, and in NASNet five combiners.

Zoph et al., "Learning Transferable Architectures" (CVPR 2018), and Liu et al., "Progressive Neural
Architecture Search" (ECCV 2018). Weights are shared as in ENAS: every (block, pair, state,
operation) has its own, once for a state that is a sum and once for one that is a concatenation.
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
from transnas.networks.nasnet import (
    Frame,
    Inputs,
    Layer,
    Skeleton,
    nasnet_layers,
    nasnet_operation,
    pnas_layers,
)
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Architecture, Space
from transnas.spaces.nasnet import CellSpace
from transnas.tasks import Signature

__all__ = ["NASNetSupernet"]

_MODE = replace(SEARCH, shift_by_bias=False)


@register_supernet("nasnet")
@register_supernet("pnas")
class NASNetSupernet(Supernet):
    """All cells of the space in one network; keywords are the fields of `Skeleton`."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, CellSpace)
        rows = PairRows(space)
        settings = skeleton_from(Skeleton, skeleton)
        super().__init__(space, signature, relaxation, form, rows.available, asdict(settings))
        self.layout = rows
        self.layers = (
            nasnet_layers(*space.kinds, settings)
            if len(space.kinds) == 2
            else pnas_layers(space.kinds[0], settings)
        )

        def make(layer: Layer[str], inputs: Inputs) -> nn.Module:
            return PairCell(
                rows,
                layer.plan,
                inputs.modules(layer.filters, _MODE),
                inputs.channels(layer.filters),
                layer.filters,
                layer.stride,
                lambda name, ci, co, stride: nasnet_operation(name, ci, co, stride, _MODE),
                self.allowed,
                form=form,
            )

        tracks = _MODE.track_running_stats
        self.network = Frame(self.layers, make, signature, settings, tracks)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the weights of `mix` [rows, 6 operations]."""
        return self.network.run(x, mix)

    def codes(self, arch: Architecture) -> tuple[int, ...]:
        """Return `state * operations + operation` of each pair, and the combiner of each block."""
        return self.layout.codes(self.layout.space.cells(arch))

    def operation(self, row: int, code: int) -> Operation:
        """See `PairRows.operation`."""
        return self.layout.operation(self.network.cells, row, code)

    def discretise(self, shares: Tensor) -> Architecture:
        """Return the strongest state and operation of every pair, and the strongest combiner."""
        return self.layout.architecture(shares.argmax(dim=1).tolist())

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return e.g. `network.cells.0.sources.2_1.edges.4.sep_conv_3x3.` for `cells.0.edges.3.`.

        The state's second number is its variant: 0 a sum, 1 a concatenation.
        """
        rows = self.layout

        def inner(match: re.Match[str]) -> str:
            kind = self.layers[int(match[1])].plan
            block, which = divmod(int(match[2]), 2)
            row = rows.pair(kind, block, which)
            code = codes[row]
            assert code is not None
            state, operation = divmod(code, len(rows.operations))
            variant: int | None = 0
            if state > 1 and len(rows.combiners) > 1:
                variant = codes[rows.pair(kind, state - 2, 0) + 2]
            op = rows.operations[operation]
            return f"cells.{match[1]}.sources.{state}_{variant}.edges.{row}.{op}."

        return "network." + re.sub(r"cells\.(\d+)\.edges\.(\d+)\.", inner, name)

    def shared_value(
        self, shared: Mapping[str, Tensor], name: str, codes: Sequence[int | None]
    ) -> Tensor | None:
        """Return the weight, and of one that reads a cell the part that reads unread blocks."""
        value = super().shared_value(shared, name, codes)
        source = source_cell(name, len(self.layers))
        if value is None or source is None:
            return value
        arch = self.layout.architecture([code for code in codes if code is not None])
        layer = self.layers[source]
        cell = self.layout.space.cells(arch)[layer.plan]
        return value[:, self.layout.output_channels(cell, layer.filters)]
