"""Recurrent cells of the DARTS and ENAS spaces, and a language model around one.

Liu et al., "DARTS" (ICLR 2019), section 3.1.2 and appendix A.2; Pham et al., "Efficient Neural
Architecture Search via Parameter Sharing" (ICML 2018), section 2.1 and appendix A. Both cells
compute s_i = s_j + sigmoid(c) (f(h) - s_j) with [c, h] = s_j W_i; they differ in which states the
output is the mean of. Weights are uniform in +-0.04.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas.networks._registry import positive, register, skeleton_from
from transnas.spaces import Architecture, Space
from transnas.spaces.darts_recurrent import RecurrentSpace
from transnas.tasks import Signature

__all__ = [
    "ACTIVATIONS",
    "LanguageModel",
    "RecurrentCell",
    "Skeleton",
    "build",
    "highway_step",
    "uniform",
    "vocabulary",
]

_RANGE = 0.04

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "identity": lambda x: x,
    "sigmoid": torch.sigmoid,
}


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the default is the published Penn Treebank network."""

    hidden: int = 850
    """Units of embedding and hidden state."""

    def __post_init__(self) -> None:
        positive("hidden", self.hidden)


def uniform(*shape: int) -> Tensor:
    """Return first weights of this shape, uniform in +-0.04."""
    return torch.empty(*shape).uniform_(-_RANGE, _RANGE)


def highway_step(mapped: Tensor, before: Tensor, activation: str) -> Tensor:
    """[..., 2 H] = s_j W_i and s_j [..., H] -> s_j + sigmoid(c) (f(h) - s_j), [..., H]."""
    gate, candidate = mapped.chunk(2, dim=-1)
    return before + torch.sigmoid(gate) * (ACTIVATIONS[activation](candidate) - before)


class RecurrentCell(nn.Module):
    """One step: state 0 from input and last hidden state, a tree of nodes, a mean.

    `nodes` are (activation, earlier state) pairs of nodes 1, 2, ...; `outputs` are the states in
    the mean. Without `highway` a node is f(s_j W_i) alone, as in the figures of ENAS; `normalise`
    normalises every state over the batch, as DARTS does while searching.
    """

    def __init__(
        self,
        nodes: Sequence[tuple[str, int]],
        outputs: Sequence[int],
        inputs: int,
        hidden: int,
        *,
        root: str = "tanh",
        highway: bool = True,
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.outputs = tuple(outputs)
        self.root = root
        self.highway = highway
        self.norm: nn.Module = (
            nn.BatchNorm1d(hidden, affine=False, track_running_stats=False)
            if normalise
            else nn.Identity()
        )
        width = 2 * hidden if highway else hidden
        self.first = nn.Parameter(uniform(inputs + hidden, width))
        self.weights = nn.ParameterList(uniform(hidden, width) for _ in self.nodes)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """[B, inputs], [B, hidden] -> [B, hidden]."""
        states = [self._step(torch.cat([x, hidden], dim=-1) @ self.first, hidden, self.root)]
        for (activation, state), weight in zip(self.nodes, self.weights, strict=True):
            before = states[state]
            states.append(self._step(before @ weight, before, activation))
        return torch.stack([states[i] for i in self.outputs]).mean(dim=0)

    def _step(self, mapped: Tensor, before: Tensor, activation: str) -> Tensor:
        if not self.highway:
            return ACTIVATIONS[activation](mapped)
        out: Tensor = self.norm(highway_step(mapped, before, activation))
        return out


class LanguageModel(nn.Module):
    """Embedding, recurrent cell, and a decoder that shares the embedding's weights."""

    def __init__(self, cell: nn.Module, vocabulary: int, hidden: int) -> None:
        super().__init__()
        self.hidden = hidden
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.cell = cell
        self.decoder = nn.Linear(hidden, vocabulary)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] -> logits of each next token [B, T, vocabulary], from a zero state."""
        return self.run(tokens, self.embedding.weight.new_zeros(len(tokens), self.hidden))[0]

    def run(self, tokens: Tensor, hidden: Tensor, *extra: Any) -> tuple[Tensor, Tensor]:
        """Token ids [B, T] and state [B, hidden] -> logits [B, T, vocabulary] and the last state.

        For truncated backpropagation through time, detach the state between calls. The cell is
        given `extra`.
        """
        embedded = self.embedding(tokens)
        steps = []
        for t in range(tokens.shape[1]):
            hidden = self.cell(embedded[:, t], hidden, *extra)
            steps.append(hidden)
        return self.decoder(torch.stack(steps, dim=1)), hidden


@register("darts-recurrent")
@register("enas-recurrent")
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return a language model: `signature.outputs` is the vocabulary, its input shape (T,).

    Keywords are the fields of `Skeleton`. Raises `InputError` for inputs that are no token rows.
    """
    assert isinstance(space, RecurrentSpace)
    tokens = vocabulary(space, signature)
    hidden = skeleton_from(Skeleton, skeleton).hidden
    nodes = space.nodes(arch)
    cell = RecurrentCell(nodes, space.outputs(nodes), hidden, hidden, root=space.root(arch))
    return LanguageModel(cell, tokens, hidden)


def vocabulary(space: Space, signature: Signature) -> int:
    """Return the number of tokens; raises `InputError` for inputs that are no token rows."""
    if len(signature.input_shape) != 1:
        raise InputError(
            f"input shape {signature.input_shape} is not a row of tokens; accepted by space "
            f"{space.name!r}: (length,)"
        )
    return signature.outputs
