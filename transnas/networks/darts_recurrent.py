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
from torch.nn import functional as F

from transnas._errors import InputError
from transnas.networks._registry import positive, register, share, skeleton_from
from transnas.spaces import Architecture, Space
from transnas.spaces.darts_recurrent import RecurrentSpace
from transnas.tasks import Signature

__all__ = [
    "ACTIVATIONS",
    "Dropout",
    "LanguageModel",
    "RecurrentCell",
    "Skeleton",
    "build",
    "highway_step",
    "masked",
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
class Dropout:
    """Shares of what is dropped in training, by masks that stay the same over a window.

    Gal & Ghahramani, NeurIPS 2016; Merity et al., "Regularizing and Optimizing LSTM Language
    Models", ICLR 2018.
    """

    embedding: float = 0.0
    """Of words, with their whole vectors."""
    inputs: float = 0.0
    """Of what goes into the cell."""
    hidden: float = 0.0
    """Of the states that the cell's matrices multiply."""
    outputs: float = 0.0
    """Of what goes to the decoder."""


@dataclass(frozen=True, slots=True)
class Skeleton:
    """What is not searched; the default is the size of the published Penn Treebank network.

    It was trained with dropouts of 0.1, 0.8 (0.75 and 0.2 in turn), 0.25 and 0.75; its cell was
    searched with 300 units and the same dropouts but the first, 0.
    """

    hidden: int = 850
    """Units of embedding and hidden state."""
    embedding_dropout: float = 0.0
    input_dropout: float = 0.0
    hidden_dropout: float = 0.0
    output_dropout: float = 0.0

    def __post_init__(self) -> None:
        positive("hidden", self.hidden)
        for name in ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout"):
            share(name, getattr(self, name))

    @property
    def dropout(self) -> Dropout:
        """The four shares."""
        return Dropout(
            self.embedding_dropout, self.input_dropout, self.hidden_dropout, self.output_dropout
        )


def suggest(signature: Signature) -> dict[str, Any]:
    """Return a size that a CPU trains in minutes."""
    return {"hidden": 200}


def uniform(*shape: int) -> Tensor:
    """Return first weights of this shape, uniform in +-0.04."""
    return torch.empty(*shape).uniform_(-_RANGE, _RANGE)


def masked(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return what a dropout's mask leaves of x; None drops nothing."""
    return x if mask is None else x * mask


def highway_step(mapped: Tensor, before: Tensor, activation: str) -> Tensor:
    """[..., 2 H] = s_j W_i and s_j [..., H] -> s_j + sigmoid(c) (f(h) - s_j), [..., H]."""
    gate, candidate = mapped.chunk(2, dim=-1)
    return before + torch.sigmoid(gate) * (ACTIVATIONS[activation](candidate) - before)


class RecurrentCell(nn.Module):
    """One step: state 0 from input and last hidden state, a tree of nodes, a mean.

    `nodes` are (activation, earlier state) pairs of nodes 1, 2, ...; `outputs` are the states in
    the mean. `normalise` normalises every state over the batch, as DARTS does while searching.
    """

    def __init__(
        self,
        nodes: Sequence[tuple[str, int]],
        outputs: Sequence[int],
        inputs: int,
        hidden: int,
        *,
        root: str = "tanh",
        normalise: bool = False,
    ) -> None:
        super().__init__()
        self.nodes = tuple(nodes)
        self.outputs = tuple(outputs)
        self.root = root
        self.norm: nn.Module = (
            nn.BatchNorm1d(hidden, affine=False, track_running_stats=False)
            if normalise
            else nn.Identity()
        )
        self.first = nn.Parameter(uniform(inputs + hidden, 2 * hidden))
        self.weights = nn.ParameterList(uniform(hidden, 2 * hidden) for _ in self.nodes)

    def forward(self, x: Tensor, hidden: Tensor, keep: Tensor | None = None) -> Tensor:
        """[B, inputs], [B, hidden] -> [B, hidden].

        `keep` [B, hidden] multiplies states where a matrix reads them, not where they go on.
        """
        mapped = torch.cat([x, masked(hidden, keep)], dim=-1) @ self.first
        states = [self._step(mapped, hidden, self.root)]
        for (activation, state), weight in zip(self.nodes, self.weights, strict=True):
            before = states[state]
            states.append(self._step(masked(before, keep) @ weight, before, activation))
        return torch.stack([states[i] for i in self.outputs]).mean(dim=0)

    def _step(self, mapped: Tensor, before: Tensor, activation: str) -> Tensor:
        out: Tensor = self.norm(highway_step(mapped, before, activation))
        return out


class LanguageModel(nn.Module):
    """Embedding, recurrent cell, and a decoder that shares the embedding's weights.

    A cell whose state is more than the hidden state says so as `state_size`; the hidden state
    then comes first.
    """

    def __init__(
        self,
        cell: nn.Module,
        vocabulary: int,
        hidden: int,
        dropout: Dropout = Dropout(),
    ) -> None:
        super().__init__()
        self.hidden = hidden
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, hidden)
        self.cell = cell
        self.decoder = nn.Linear(hidden, vocabulary)
        self.decoder.weight = self.embedding.weight
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.zeros_(self.decoder.bias)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids [B, T] -> logits of each next token [B, T, vocabulary], from a zero state."""
        return self.run(tokens)[0]

    def run(
        self, tokens: Tensor, hidden: Tensor | None = None, *extra: Any
    ) -> tuple[Tensor, Tensor]:
        """Token ids [B, T] and state [B, S] -> logits [B, T, vocabulary] and the last state.

        For truncated backpropagation through time, detach the state between calls; None is the
        zero state. The cell is given `extra`.
        """
        rows, rates = tokens.shape[0], self.dropout
        if hidden is None:
            size = getattr(self.cell, "state_size", self.hidden)
            hidden = self.embedding.weight.new_zeros(rows, size)
        words = self._mask(rates.embedding, len(self.embedding.weight), 1)
        table = self.embedding.weight if words is None else self.embedding.weight * words
        embedded = masked(
            F.embedding(tokens, table), self._mask(rates.inputs, rows, 1, self.hidden)
        )
        keep = self._mask(rates.hidden, rows, self.hidden)
        extra = extra if keep is None else (*extra, keep)
        steps = []
        for t in range(tokens.shape[1]):
            hidden = self.cell(embedded[:, t], hidden, *extra)
            steps.append(hidden[:, : self.hidden])
        outputs = torch.stack(steps, dim=1)
        outputs = masked(outputs, self._mask(rates.outputs, rows, 1, self.hidden))
        return self.decoder(outputs), hidden

    def _mask(self, rate: float, *shape: int) -> Tensor | None:
        """Return zeros with probability `rate`, else 1 / (1 - rate); None where nothing drops."""
        if not self.training or rate == 0.0:
            return None
        kept = 1.0 - rate
        return self.embedding.weight.new_empty(shape).bernoulli_(kept) / kept


@register("darts-recurrent", suggest, kinds=("language",))
@register("enas-recurrent", suggest, kinds=("language",))
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return a language model: `signature.outputs` is the vocabulary, its input shape (T,).

    Keywords are the fields of `Skeleton`. Raises `InputError` for inputs that are no token rows.
    """
    assert isinstance(space, RecurrentSpace)
    tokens = vocabulary(space, signature)
    chosen = skeleton_from(Skeleton, skeleton)
    nodes, hidden = space.nodes(arch), chosen.hidden
    cell = RecurrentCell(nodes, space.outputs(nodes), hidden, hidden, root=space.root(arch))
    return LanguageModel(cell, tokens, hidden, chosen.dropout)


def vocabulary(space: Space, signature: Signature) -> int:
    """Return the number of tokens; raises `InputError` for inputs that are no token rows."""
    if len(signature.input_shape) != 1:
        raise InputError(
            f"input shape {signature.input_shape} is not a row of tokens; accepted by space "
            f"{space.name!r}: (length,)"
        )
    return signature.outputs
