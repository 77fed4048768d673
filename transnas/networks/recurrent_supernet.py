"""The supernets of the DARTS and ENAS recurrent spaces, in a language model.

Liu et al., "DARTS" (ICLR 2019), section 3.1.2: every node sums what all earlier states bring
through one matrix of the node, mixed over activations, and states are normalised over the batch.
Pham et al., "Efficient Neural Architecture Search via Parameter Sharing" (ICML 2018), section 2.1:
every node reads one earlier state, through a matrix of its own for each.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from transnas.networks._mixed import recomputed
from transnas.networks._registry import skeleton_from
from transnas.networks._supernet import Form, Operation, Supernet, register_supernet
from transnas.networks.darts_recurrent import ACTIVATIONS as FUNCTIONS
from transnas.networks.darts_recurrent import (
    Dropout,
    LanguageModel,
    RecurrentCell,
    Skeleton,
    highway_step,
    masked,
    uniform,
    vocabulary,
)
from transnas.networks.relaxations import Mix, Relaxation
from transnas.spaces import Architecture, Space
from transnas.spaces.darts_recurrent import ACTIVATIONS, RecurrentSpace
from transnas.tasks import Signature

__all__ = ["DARTSCell", "DARTSRecurrentSupernet", "ENASCell", "ENASRecurrentSupernet"]

_OPERATIONS = ("none", *ACTIVATIONS)
"""Of an edge of the DARTS cell."""


def mixed_steps(
    mapped: Tensor, before: Tensor, shares: Tensor, active: Sequence[Sequence[int]]
) -> Tensor:
    """Return the sum over states j and activations k of shares_jk times `highway_step`, [B, H].

    It is w s + sigmoid(c) (sum_k shares_k f_k(h) - w s) with w = sum_k shares_k, so that a state's
    gate is computed once. `mapped` [S, B, 2 H], `before` [S, B, H], `shares` [S, 4]; `active` are
    the activations of each state to compute.
    """
    used = sorted({k for codes in active for k in codes})
    if not used:
        return before.new_zeros(before.shape[1:])
    shares = shares[:, used]
    there = [[k in codes for k in used] for codes in active]
    if not all(map(all, there)):  # the others have neither a share nor a gradient
        shares = shares * torch.tensor(there, device=shares.device)
    gate, candidate = mapped.chunk(2, dim=-1)
    columns = shares[:, :, None, None].unbind(dim=1)
    mixed = reduce(
        torch.add,
        [w * FUNCTIONS[ACTIVATIONS[k]](candidate) for w, k in zip(columns, used, strict=True)],
    )
    kept = shares.sum(dim=1)[:, None, None] * before
    return torch.lerp(kept, mixed, torch.sigmoid(gate)).sum(dim=0)


class _MixedCell(nn.Module):
    def __init__(self, hidden: int, checkpoint: bool) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        self.first = nn.Parameter(uniform(2 * hidden, 2 * hidden))

    def forward(self, x: Tensor, hidden: Tensor, mix: Mix, keep: Tensor | None = None) -> Tensor:
        """[B, H], [B, H] -> [B, H]; `keep` as for `RecurrentCell.forward`."""
        if self.checkpoint:
            return recomputed(self._step, x, hidden, mix, keep)
        return self._step(x, hidden, mix, keep)

    @abstractmethod
    def _step(self, x: Tensor, hidden: Tensor, mix: Mix, keep: Tensor | None) -> Tensor: ...


class DARTSCell(_MixedCell):
    """Rows: the edges into node 1, into node 2, and so on, from state 0 upwards."""

    def __init__(self, nodes: int, hidden: int, checkpoint: bool) -> None:
        super().__init__(hidden, checkpoint)
        self.weights = nn.ParameterList(uniform(hidden, 2 * hidden) for _ in range(nodes))
        self.norm = nn.BatchNorm1d(hidden, affine=False, track_running_stats=False)

    def _step(self, x: Tensor, hidden: Tensor, mix: Mix, keep: Tensor | None) -> Tensor:
        mapped = torch.cat([x, masked(hidden, keep)], dim=-1) @ self.first
        states, row = [self.norm(highway_step(mapped, hidden, "tanh"))], 0
        for weight in self.weights:
            active = [
                [code - 1 for code in mix.active(edge) if code > 0]
                for edge in range(row, row + len(states))
            ]
            read = [state for state, codes in enumerate(active) if codes]
            before = torch.stack([states[state] for state in read or [0]])
            shares = mix.weights[row : row + len(states), 1:][read]
            mapped = masked(before, keep) @ weight
            total = mixed_steps(mapped, before, shares, [active[s] for s in read])
            row += len(states)
            states.append(self.norm(total))
        return torch.stack(states[1:]).mean(dim=0)


class ENASCell(_MixedCell):
    """Rows: the nodes; codes `state * activations + activation`. Output: the mean of the leaves.

    A node's weight in that mean is how much of it is unread, which is exact for one path. Nothing
    normalises states, so a row of weights is divided by its sum where that is above 1: a state that
    were the sum of many kept paths would grow from word to word without bound.
    """

    def __init__(self, nodes: int, hidden: int, checkpoint: bool) -> None:
        super().__init__(hidden, checkpoint)
        self.weights = nn.ParameterList(
            uniform(node, hidden, 2 * hidden) for node in range(1, nodes)
        )

    def _step(self, x: Tensor, hidden: Tensor, mix: Mix, keep: Tensor | None) -> Tensor:
        n = len(ACTIVATIONS)
        rows = mix.weights / mix.weights.detach().sum(dim=1, keepdim=True).clamp_min(1.0)
        mapped = torch.cat([x, masked(hidden, keep)], dim=-1) @ self.first
        first = [[code for code in mix.active(0) if code < n]]
        states = [mixed_steps(mapped[None], hidden[None], rows[:1, :n], first)]
        for node, weight in enumerate(self.weights, start=1):
            active = [[c % n for c in mix.active(node) if c // n == s] for s in range(node)]
            read = [state for state, codes in enumerate(active) if codes]
            before = torch.stack([states[state] for state in read or [0]])
            mapped = masked(before, keep) @ (weight if len(read) == node else weight[read or [0]])
            shares = rows[node, : node * n].view(node, n)[read]
            states.append(mixed_steps(mapped, before, shares, [active[s] for s in read]))
        unread = []
        for state in range(len(states)):
            reads = rows[state + 1 :, state * n : (state + 1) * n].sum(dim=1)
            unread.append((1.0 - reads).clamp(0.0, 1.0).prod())
        weights = torch.stack(unread)
        return torch.einsum("s,sbh->bh", weights / weights.sum(), torch.stack(states))


class _RecurrentSupernet(Supernet):
    """A language model around a mixed cell; keywords are the fields of `Skeleton`."""

    network: LanguageModel

    @contextmanager
    def undropped(self) -> Iterator[None]:
        """Let the language model drop nothing either; see `Supernet.undropped`."""
        rates, self.network.dropout = self.network.dropout, Dropout()
        try:
            with super().undropped():
                yield
        finally:
            self.network.dropout = rates

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """Token ids [B, T] -> logits [B, T, vocabulary] under `mix`, from a zero state."""
        weight = self.network.embedding.weight
        return self.unroll(x, weight.new_zeros(len(x), self.network.hidden), mix)[0]

    def unroll(self, x: Tensor, hidden: Tensor, mix: Mix | None = None) -> tuple[Tensor, Tensor]:
        """Token ids [B, T], state [B, H] -> logits [B, T, vocabulary] and the last state.

        For truncated backpropagation through time, detach the state between calls.
        """
        return self.network.run(x, hidden, self.mix() if mix is None else mix)

    def predictions(
        self, inputs: Tensor, targets: Any, mix: Mix | None = None
    ) -> tuple[Tensor, Tensor]:
        """Go on from the state that the last window ended with; see `Supernet.predictions`."""
        carried = targets.carried
        scores, state = self.network.run(inputs, carried.state, self.mix() if mix is None else mix)
        carried.state = state.detach()
        return scores.flatten(0, 1), targets.tokens.flatten()

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return this module's name of a weight of `LanguageModel`."""
        return "network." + name


@register_supernet("darts-recurrent")
class DARTSRecurrentSupernet(_RecurrentSupernet):
    """All DARTS recurrent cells: 36 edges, `none` and four activations on each."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, RecurrentSpace)
        nodes = len(space.choices) // 2
        available = [range(len(_OPERATIONS))] * (nodes * (nodes + 1) // 2)
        super().__init__(space, signature, relaxation, form, available, skeleton)
        self.recurrent = space
        self.edges = [(state, node) for node in range(1, nodes + 1) for state in range(node)]
        chosen, tokens = skeleton_from(Skeleton, skeleton), vocabulary(space, signature)
        cell = DARTSCell(nodes, chosen.hidden, form.checkpoint)
        self.network = LanguageModel(cell, tokens, chosen.hidden, chosen.dropout)

    def twin(self, arch: Architecture) -> nn.Module:
        """Return the discrete network of `arch` with normalised states."""
        nodes, hidden = self.recurrent.nodes(arch), self.network.hidden
        outputs = self.recurrent.outputs(nodes)
        with torch.random.fork_rng(devices=[]):
            cell = RecurrentCell(nodes, outputs, hidden, hidden, normalise=True)
            network = LanguageModel(cell, self.signature.outputs, hidden, self.network.dropout).to(
                self.logits
            )
        self.copy_into(network, arch)
        return network

    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        """Return the activation of each edge; None for the edges that the cell does not have."""
        chosen = {
            (state, node): _OPERATIONS.index(name)
            for node, (name, state) in enumerate(self.recurrent.nodes(arch), start=1)
        }
        return tuple(chosen.get(edge) for edge in self.edges)

    def operation(self, row: int, code: int) -> Operation:
        """Return `none` or an activation: those of a node share its matrix."""
        return Operation(_OPERATIONS[code])

    def selectable(self, row: int) -> tuple[int, ...]:
        """Return the activations of an edge, without `none`."""
        return tuple(code for code in self.allowed[row] if code > 0)

    def discretise(self, shares: Tensor) -> Architecture:
        """Return, for each node, the edge with the largest share of one activation."""
        nodes = []
        strength, best = (t.tolist() for t in shares[:, 1:].max(dim=1))
        for node in range(1, self.edges[-1][1] + 1):
            into = [row for row, (_, target) in enumerate(self.edges) if target == node]
            row = max(into, key=lambda r: (strength[r], -r))
            nodes.append((ACTIVATIONS[best[row]], self.edges[row][0]))
        return self.recurrent.from_nodes(nodes)


@register_supernet("enas-recurrent")
class ENASRecurrentSupernet(_RecurrentSupernet):
    """All ENAS recurrent cells: every node picks a state and an activation."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        assert isinstance(space, RecurrentSpace)
        nodes = (len(space.choices) + 1) // 2
        available = [range(max(1, node) * len(ACTIVATIONS)) for node in range(nodes)]
        super().__init__(space, signature, relaxation, form, available, skeleton)
        self.recurrent = space
        chosen, tokens = skeleton_from(Skeleton, skeleton), vocabulary(space, signature)
        cell = ENASCell(nodes, chosen.hidden, form.checkpoint)
        self.network = LanguageModel(cell, tokens, chosen.hidden, chosen.dropout)

    def codes(self, arch: Architecture) -> tuple[int, ...]:
        """Return `state * 4 + activation` of each node (of node 0 its activation)."""
        nodes = [(self.recurrent.root(arch), 0), *self.recurrent.nodes(arch)]
        return tuple(state * len(ACTIVATIONS) + ACTIVATIONS.index(name) for name, state in nodes)

    def operation(self, row: int, code: int) -> Operation:
        """Return the activation: those on a state share a matrix."""
        return Operation(ACTIVATIONS[code % len(ACTIVATIONS)])

    def discretise(self, shares: Tensor) -> Architecture:
        """Return the strongest state and activation of each node."""
        codes = [divmod(code, len(ACTIVATIONS)) for code in shares.argmax(dim=1).tolist()]
        nodes = [(ACTIVATIONS[activation], state) for state, activation in codes]
        return self.recurrent.from_nodes(nodes[1:], root=nodes[0][0])

    def shared_value(
        self, shared: Mapping[str, Tensor], name: str, codes: Sequence[int | None]
    ) -> Tensor | None:
        """Return the weight, and of a node the matrix for the state that it reads."""
        value = super().shared_value(shared, name, codes)
        node = re.fullmatch(r"cell\.weights\.(\d+)", name)
        if node is None or value is None:
            return value
        code = codes[int(node[1]) + 1]
        assert code is not None
        return value[code // len(ACTIVATIONS)]
