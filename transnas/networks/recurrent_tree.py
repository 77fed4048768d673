"""The recurrent cell of a tree, and a language model around one.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, section 3.4.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from transnas.networks._registry import register, skeleton_from
from transnas.networks.darts_recurrent import (
    ACTIVATIONS,
    LanguageModel,
    Skeleton,
    suggest,
    uniform,
    vocabulary,
)
from transnas.spaces import Architecture, Space
from transnas.spaces.recurrent_tree import RecurrentTree, TreeCell
from transnas.tasks import Signature

__all__ = ["TreeRecurrentCell", "build"]


class TreeRecurrentCell(nn.Module):
    """One step of a tree: [x_t, h_{t-1}, c_{t-1}] -> [h_t, c_t].

    With o the combiner of a node and f its activation, leaf i has z_i = (W_i x_t) o (U_i h_{t-1}),
    a node above children j and k has z_i = a_j o a_k, and a_i = f(z_i). The injected node's output
    becomes g(a_i o' c_{t-1}) by the injection's combiner and activation; h_t is the root's output,
    c_t = z of the memory's node. Leaf maps have no bias.
    """

    def __init__(self, cell: TreeCell, inputs: int, hidden: int) -> None:
        super().__init__()
        self.cell = cell
        self.hidden = hidden
        self.leaves = len(cell.nodes) - len(cell.children)
        self.of_input = nn.Parameter(uniform(inputs, self.leaves * hidden))
        self.of_hidden = nn.Parameter(uniform(hidden, self.leaves * hidden))

    @property
    def state_size(self) -> int:
        """Numbers that go from step to step: the hidden state, then the memory."""
        return 2 * self.hidden

    def forward(self, x: Tensor, state: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, inputs], [B, 2 hidden] -> [B, 2 hidden].

        `keep` [B, hidden] multiplies the hidden state where a matrix reads it.
        """
        hidden, memory = state.chunk(2, dim=-1)
        kept = hidden if keep is None else hidden * keep
        of_input = (x @ self.of_input).chunk(self.leaves, dim=-1)
        of_hidden = (kept @ self.of_hidden).chunk(self.leaves, dim=-1)
        pairs = list(zip(of_input, of_hidden, strict=True))
        outputs: list[Tensor] = []
        for i, (combiner, activation) in enumerate(self.cell.nodes):
            if i >= self.leaves:
                j, k = self.cell.children[i - self.leaves]
                pairs.append((outputs[j], outputs[k]))
            before = combine(combiner, *pairs[i])
            output = ACTIVATIONS[activation](before)
            if i == self.cell.memory:
                new_memory = before
            if i == self.cell.injected:
                combiner, activation = self.cell.inject
                output = ACTIVATIONS[activation](combine(combiner, output, memory))
            outputs.append(output)
        return torch.cat([outputs[-1], new_memory], dim=-1)


def combine(combiner: str, a: Tensor, b: Tensor) -> Tensor:
    """Return the sum or the elementwise product of two tensors of one shape."""
    return a + b if combiner == "add" else a * b


@register("recurrent-tree", suggest, kinds=("language",))
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return a language model: `signature.outputs` is the vocabulary, its input shape (T,).

    Keywords are the fields of `darts_recurrent.Skeleton`. Raises `InputError` for inputs that are
    no token rows.
    """
    assert isinstance(space, RecurrentTree)
    tokens = vocabulary(space, signature)
    chosen = skeleton_from(Skeleton, skeleton)
    cell = TreeRecurrentCell(space.cell(arch), chosen.hidden, chosen.hidden)
    return LanguageModel(cell, tokens, chosen.hidden, chosen.dropout)
