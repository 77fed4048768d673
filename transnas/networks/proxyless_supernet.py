"""The supernet of the ProxylessNAS space: up to seven bottlenecks a block, around one shortcut.

Cai et al., "ProxylessNAS", ICLR 2019, section 3.1. The shortcut of a block is outside the mixture,
so `zero` leaves the identity.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from transnas.networks._mixed import recomputed
from transnas.networks._registry import skeleton_from
from transnas.networks._supernet import SEARCH, Form, Operation, RowsAreChoices, register_supernet
from transnas.networks.proxyless import Frame, Skeleton, bottleneck
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Space
from transnas.spaces.proxyless import OPERATIONS, ZERO, ProxylessNAS
from transnas.tasks import Signature

__all__ = ["MixedBlock", "ProxylessSupernet"]

_MODE = replace(SEARCH, shift_by_bias=False)


class MixedBlock(nn.Module):
    """A mixture of bottlenecks, plus the block's input where shapes agree."""

    def __init__(
        self,
        row: int,
        channels_in: int,
        channels_out: int,
        stride: int,
        allowed: Sequence[int],
        checkpoint: bool,
    ) -> None:
        super().__init__()
        self.row, self.checkpoint, self.stride = row, checkpoint, stride
        self.shortcut = stride == 1 and channels_in == channels_out
        self.channels = channels_out
        self.operations = nn.ModuleDict(
            {
                str(code): bottleneck(channels_in, channels_out, OPERATIONS[code], stride, _MODE)
                for code in allowed
                if code < len(OPERATIONS)
            }
        )

    def forward(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, channels_in, H, W] -> [B, channels_out, ceil(H / stride), ceil(W / stride)]."""
        return recomputed(self._sum, x, mix) if self.checkpoint else self._sum(x, mix)

    def _sum(self, x: Tensor, mix: Mix) -> Tensor:
        terms = [
            mix.weights[self.row, code] * self.operations[str(code)](x)
            for code in mix.active(self.row)
            if str(code) in self.operations
        ]
        if self.shortcut:
            return sum(terms, x)
        b, _, h, w = x.shape
        return sum(terms, x.new_zeros(b, self.channels, -(-h // self.stride), -(-w // self.stride)))


@register_supernet("proxyless")
class ProxylessSupernet(RowsAreChoices):
    """All chains in one network; keywords are the fields of `Skeleton`."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, ProxylessNAS)
        available = [range(len(choice.values)) for choice in space.choices]
        super().__init__(space, signature, relaxation, form, available, skeleton)
        self.chain = space

        def make(row: int, channels_in: int, channels_out: int, stride: int) -> nn.Module:
            codes = self.allowed[row]
            return MixedBlock(row, channels_in, channels_out, stride, codes, form.checkpoint)

        self.network = Frame(make, signature, skeleton_from(Skeleton, skeleton), _MODE)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the weights of `mix` [21, 7]."""
        return self.network.run(x, mix)

    def stages(self, x: Tensor, mix: Mix) -> list[Tensor]:
        """[B, C, H, W] -> features before each halving, and the last, under `mix`."""
        return self.network.stages(x, mix)

    @property
    def outline(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Channels and strides of `stages`."""
        return self.network.channels, self.network.strides

    def operation(self, row: int, code: int) -> Operation:
        """Return the bottleneck of a block; `zero` has no module."""
        block = self.network.blocks[row]
        assert isinstance(block, MixedBlock)
        own = dict(block.operations.named_children()).get(str(code))
        return Operation(self.chain.choices[row].values[code], () if own is None else (own,))

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return e.g. `network.blocks.3.operations.2.0.weight` for `blocks.2.body.0.weight`.

        Blocks that are left out do not count in the discrete network.
        """
        there = [
            row
            for row, code in enumerate(codes)
            if code is not None and self.chain.choices[row].values[code] != ZERO
        ]

        def inner(match: re.Match[str]) -> str:
            row = there[int(match[1])]
            return f"blocks.{row}.operations.{codes[row]}."

        return "network." + re.sub(r"\bblocks\.(\d+)\.body\.", inner, name)
