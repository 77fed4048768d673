"""The supernet of the ENAS macro space: six branches a layer, and a gate for each skip.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.3.
Rows of the logits: the operations of the twelve layers, then the skips (0 absent, 1 there) into
layer 1, into layer 2, and so on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from transnas.networks._mixed import recomputed
from transnas.networks._registry import skeleton_from
from transnas.networks._supernet import SEARCH, Form, Operation, Supernet, register_supernet
from transnas.networks.enas_macro import Frame, Skeleton, branch
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Architecture, Space
from transnas.spaces.enas_macro import OPERATIONS, ChainSpace
from transnas.tasks import Signature

__all__ = ["ENASMacroSupernet", "MixedLayer"]

_MODE = replace(SEARCH, shift_by_bias=False)


class MixedLayer(nn.Module):
    """A mixture of branches on the layer before, plus gated earlier layers, normalised."""

    def __init__(
        self, row: int, first_skip: int, channels: int, allowed: Sequence[int], checkpoint: bool
    ) -> None:
        super().__init__()
        self.row, self.first_skip, self.checkpoint = row, first_skip, checkpoint
        self.branches = nn.ModuleDict(
            {OPERATIONS[code]: branch(OPERATIONS[code], channels, _MODE) for code in allowed}
        )
        self.norm = _MODE.norm(channels)

    def forward(self, layers: Sequence[Tensor], before: Tensor, mix: Mix) -> Tensor:
        """Earlier layers and the last output, all [B, C, H, W] -> [B, C, H, W]."""
        if self.checkpoint:
            return recomputed(self._sum, tuple(layers), before, mix)
        return self._sum(layers, before, mix)

    def _sum(self, layers: Sequence[Tensor], before: Tensor, mix: Mix) -> Tensor:
        terms = [
            mix.weights[self.row, code] * self.branches[OPERATIONS[code]](before)
            for code in mix.active(self.row)
            if OPERATIONS[code] in self.branches
        ]
        for i, earlier in enumerate(layers):
            row = self.first_skip + i
            if 1 in mix.active(row):
                terms.append(mix.weights[row, 1] * earlier)
        out: Tensor = self.norm(sum(terms, before.new_zeros(before.shape)))
        return out


@register_supernet("enas-macro")
class ENASMacroSupernet(Supernet):
    """All chains in one network; the keyword is that of `Skeleton`."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, ChainSpace)
        channels = skeleton_from(Skeleton, skeleton).channels
        skips = space.layers * (space.layers - 1) // 2
        available = [range(len(OPERATIONS))] * space.layers + [range(2)] * skips
        super().__init__(space, signature, relaxation, form, available, skeleton)
        self.depth = space.layers

        def make(k: int) -> nn.Module:
            return MixedLayer(k, self._skip(k, 0), channels, self.allowed[k], form.checkpoint)

        self.network = Frame(self.depth, make, signature, channels, _MODE)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the weights of `mix` [78, 6]."""
        return self.network.run(x, mix)

    def codes(self, arch: Architecture) -> tuple[int, ...]:
        """Return the operations, then the skip bits."""
        values, operations, bits = iter(arch.values), [], []
        for k in range(self.depth):
            operations.append(next(values))
            bits += [next(values) for _ in range(k)]
        return (*operations, *bits)

    def operation(self, row: int, code: int) -> Operation:
        """Return the branch of a layer, or whether a skip is there: `none` or `reads`."""
        if row >= self.depth:
            return Operation(("none", "reads")[code])
        layer = self.network.layers[row]
        assert isinstance(layer, MixedLayer)
        return Operation(OPERATIONS[code], (layer.branches[OPERATIONS[code]],))

    def discretise(self, shares: Tensor) -> Architecture:
        """Return the strongest operation of each layer, and the skips with more than half."""
        codes = shares.argmax(dim=1).tolist()
        values: list[int] = []
        for k in range(self.depth):
            values += [codes[k], *codes[self._skip(k, 0) : self._skip(k, k)]]
        return self.space.architecture(values)

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return e.g. `network.layers.2.branches.sep_3x3.0.` for `layers.2.branch.0.`."""

        def inner(match: re.Match[str]) -> str:
            code = codes[int(match[1])]
            assert code is not None
            return f"layers.{match[1]}.branches.{OPERATIONS[code]}."

        return "network." + re.sub(r"layers\.(\d+)\.branch\.", inner, name)

    def _skip(self, layer: int, earlier: int) -> int:
        """Return the row of the skip from layer `earlier` to `layer`."""
        return self.depth + layer * (layer - 1) // 2 + earlier
