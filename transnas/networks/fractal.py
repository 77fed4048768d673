"""The network of the fractal space, and its drop path.

Larsson et al., "FractalNet: Ultra-Deep Neural Networks without Residuals", ICLR 2017:

    f_1(z) = conv(z)        f_{C+1}(z) = (f_C o f_C)(z) (+) conv(z)        (+) a mean ("join")

Of C columns the c-th (from 1) has 2^(c-1) convolutions; those that end in the same row meet in one
join. Drop path thins the joins in training: in half of the batches locally (each input of a join
with probability p, but one at least stays), in the others globally (one column, the same in the
whole network). Means are over what stays, so nothing is rescaled; masks are drawn once a batch. By
the stated widths the paper's network has 33.7 million parameters (printed: 38.6).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas.networks._registry import positive, register, share
from transnas.spaces import Architecture, Space
from transnas.spaces.fractal import Fractal
from transnas.tasks import Signature

__all__ = ["Block", "Network", "build"]

_WIDEST = 8
"""Blocks double the channels up to so many times those of the first (64 to 512 in the paper)."""
_GLOBAL = 0.5
"""Share of batches with one column."""


class Block(nn.Module):
    """Columns of convolutions [B, I, H, W] -> [B, O, H, W], joined where they end together."""

    def __init__(self, inputs: int, outputs: int, columns: int) -> None:
        super().__init__()
        self.columns = columns
        self.depth = 2 ** (columns - 1)
        self.convolutions = nn.ModuleList(
            nn.ModuleList(_unit(inputs if i == 0 else outputs, outputs) for i in range(2**c))
            for c in range(columns)
        )

    def ending(self, row: int) -> list[int]:
        """Return the columns with a convolution that ends in `row` (from 1)."""
        return [c for c in range(self.columns) if row % 2 ** (self.columns - 1 - c) == 0]

    def forward(self, x: Tensor, keep: list[list[int]] | None = None) -> Tensor:
        """`keep` are the columns that each row's join reads; None: all that end there."""
        states: list[Tensor | None] = [x] * self.columns
        joined: Tensor | None = x
        for row in range(1, self.depth + 1):
            ending = self.ending(row)
            wanted = ending if keep is None else keep[row - 1]
            made = []
            for c in wanted:
                state = states[c]
                if state is not None:
                    made.append(self._convolution(c, row)(state))
            joined = torch.stack(made).mean(dim=0) if made else None
            for c in ending:
                states[c] = joined
        assert joined is not None
        return joined

    def _convolution(self, column: int, row: int) -> nn.Module:
        place = row // 2 ** (self.columns - 1 - column) - 1
        return self.convolutions[column].get_submodule(str(place))


def _unit(inputs: int, outputs: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Network(nn.Module):
    """Blocks, each followed by a 2x2 max pooling (while the map has two pixels), and a classifier.

    `drop_path` is the probability p of local drop path, and may be set during training; at 0
    neither kind is used. In evaluation everything stays, or the column that `only` names.
    """

    def __init__(
        self,
        signature: Signature,
        blocks: int = 5,
        columns: int = 3,
        channels: int = 64,
        drop_path: float = 0.15,
    ) -> None:
        super().__init__()
        widths = [channels * min(2**b, _WIDEST) for b in range(blocks)]
        ins = [signature.input_shape[0], *widths]
        self.blocks = nn.ModuleList(Block(i, o, columns) for i, o in zip(ins, widths, strict=False))
        self.columns = columns
        self.drop_path = drop_path
        self.only: int | None = None
        """A column (from 0) that is used alone: the paper's anytime property."""
        self.head = nn.Linear(widths[-1], signature.outputs)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, outputs]."""
        column = self._column()
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block(x, self._kept(block, column))
            x = F.max_pool2d(x, 2) if min(x.shape[2:]) > 1 else x
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out

    def _column(self) -> int | None:
        """Return the column that is used alone in this pass, if one is."""
        if not self.training or self.drop_path == 0.0:
            return self.only
        if float(torch.rand(())) < _GLOBAL:
            return int(torch.randint(self.columns, ()))
        return None

    def _kept(self, block: Block, column: int | None) -> list[list[int]] | None:
        """Return what each join of a block reads."""
        rows = [block.ending(row) for row in range(1, block.depth + 1)]
        if column is not None:
            return [[c for c in ending if c == column] for ending in rows]
        if not self.training or self.drop_path == 0.0:
            return None
        return [survivors(ending, self.drop_path) for ending in rows]


def survivors(columns: list[int], probability: float) -> list[int]:
    """Drop each column with `probability`; if none stays, one drawn uniformly does."""
    stays = (torch.rand(len(columns)) >= probability).tolist()
    kept = [c for c, stay in zip(columns, stays, strict=True) if stay]
    return kept or [columns[int(torch.randint(len(columns), ()))]]


@register("fractal")
def build(
    space: Space,
    arch: Architecture,
    signature: Signature,
    channels: int = 64,
    drop_path: float = 0.15,
) -> nn.Module:
    """Return the network; `channels` are those of the first block, `drop_path` is p (published)."""
    assert isinstance(space, Fractal)
    positive("channels", channels)
    share("drop_path", drop_path)
    blocks, columns = space.plan(arch)
    return Network(signature, blocks, columns, channels, drop_path)
