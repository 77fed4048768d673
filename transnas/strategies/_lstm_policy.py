"""The recurrent controller: an LSTM that writes an architecture choice by choice.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, sections 3.1-3.3;
the same network serves NASNet (Zoph et al., CVPR 2018) and ENAS (Pham et al., ICML 2018). It knows
a space by its choices, its mask and its `referents`, and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transnas.spaces import Space
from transnas.strategies._base import require_categorical

__all__ = ["LSTMPolicy", "bits", "chosen_log_policy", "entropies"]

Codes = npt.NDArray[np.int64]
_Choose = Callable[[int, Tensor], Tensor]
"""From a choice's number and its log-probabilities [B, values] to the codes [B]."""


@dataclass(frozen=True)
class _Step:
    """One step of the LSTM: one choice, or a row of bits that are drawn independently."""

    choices: tuple[int, ...]
    memory: tuple[tuple[int, ...], ...]
    """For each choice that points, where its values' referents lie in the memory; 0: nothing."""


class LSTMPolicy(nn.Module):
    """pi(a) = prod_t pi(a_t | a_1 .. a_{t-1}), masked and renormalised by the space.

    - A choice is a softmax of its own on the LSTM's output h_t; the embedding of what was chosen is
      the next input.
    - A choice that points (`Space.referents`) is decided by attention: the logit of a value that
      points at part i is v tanh(W_prev h_i + W_curr h_t), with h_i the output at the step that
      completed part i (for the architecture's inputs a learnt vector); the logit of pointing at
      nothing is 0. For a bit this is P(layer t reads layer i) = sigmoid(v tanh(...)), the anchor
      points of Zoph & Le. Bits in a row belong to one step and do not see one another. The next
      input is the mean of the h_i chosen, as in ENAS, or a learnt vector if there are none.

    All weights are uniform in +-`reach`, drawn under `seed`; biases of the softmaxes start at 0.
    With `squash` c and `temperature` T a logit l becomes c tanh(l / T) (ENAS); without, l / T.
    Raises `InputError` for a space with number ranges, or without choices.
    """

    def __init__(
        self,
        space: Space,
        *,
        hidden: int = 35,
        layers: int = 2,
        reach: float = 0.08,
        temperature: float = 1.0,
        squash: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        require_categorical(space, "a recurrent controller")
        self.space = space
        self.temperature = temperature
        self.squash = squash
        self.steps, inputs = _plan(space)
        counts = [len(c.values) for c in space.choices]
        self._free = type(space).mask is Space.mask
        pointing = {d for step in self.steps if step.memory for d in step.choices}
        with torch.random.fork_rng(devices=[]):  # construction draws what is drawn anew below
            self.cells = nn.ModuleList(nn.LSTMCell(hidden, hidden) for _ in range(layers))
            own = [d for d in range(len(counts)) if d not in pointing]
            self.heads = nn.ModuleDict({str(d): nn.Linear(hidden, counts[d]) for d in own})
            self.embeddings = nn.ModuleDict({str(d): nn.Embedding(counts[d], hidden) for d in own})
            self.previous = nn.Linear(hidden, hidden, bias=False)
            self.current = nn.Linear(hidden, hidden, bias=False)
            self.attention = nn.Linear(hidden, 1, bias=False)
            self.start = nn.Parameter(torch.empty(hidden))
            self.nothing = nn.Parameter(torch.empty(hidden))
            self.inputs = nn.Parameter(torch.empty(inputs, hidden))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-reach, reach, generator=generator)
            for head in self.heads.values():
                nn.init.zeros_(head.get_parameter("bias"))

    def forward(self, codes: Codes) -> Tensor:
        """Return log pi(. | a_1 .. a_{t-1}) along `codes` [B, T]: [B, T, V].

        V is the number of values of the longest choice; what is masked, or is not there, is -inf.
        """
        given = torch.as_tensor(codes, device=self.start.device)
        return self._unroll(len(codes), lambda d, log_p: given[:, d])[1]

    def sample(self, draws: npt.NDArray[np.float64]) -> tuple[Codes, Tensor]:
        """Draw architectures by inverting cumulative probabilities.

        `draws` [B, T] are uniform in [0, 1). Returns their codes [B, T], and `forward` of them,
        with gradient.
        """
        uniform = torch.as_tensor(draws, device=self.start.device)

        def choose(d: int, log_p: Tensor) -> Tensor:
            total = log_p.detach().double().exp().cumsum(dim=-1)
            # A masked value adds nothing to the sum, so that no draw falls on it.
            return (total <= uniform[:, d : d + 1] * total[:, -1:]).sum(dim=-1)

        return self._unroll(len(draws), choose)

    def most_likely(self) -> Codes:
        """Return the codes [T] that follow from taking the most likely value at each choice."""
        with torch.no_grad():
            codes, _ = self._unroll(1, lambda d, log_p: log_p.argmax(dim=-1))
        return codes.reshape(-1)

    def _unroll(self, count: int, choose: _Choose) -> tuple[Codes, Tensor]:
        choices = self.space.choices
        widest = max(len(c.values) for c in choices)
        codes: Codes = np.zeros((count, len(choices)), dtype=np.int64)
        rows: list[Tensor] = []
        x = self.start.expand(count, -1)
        state = [(torch.zeros_like(x), torch.zeros_like(x)) for _ in self.cells]
        # Place 0 is what points at nothing; then the inputs, then a place for each step.
        memory = [self.nothing.expand(count, -1), *(v.expand(count, -1) for v in self.inputs)]
        keys: dict[int, Tensor] = {}
        for step in self.steps:
            state, h = self._advance(x, state)
            for i in {i for places in step.memory for i in places if i > 0 and i not in keys}:
                keys[i] = self.previous(memory[i])
            taken: list[Tensor] = []
            for k, d in enumerate(step.choices):
                logits = self._logits(d, step.memory[k] if step.memory else (), keys, h)
                allowed = self._mask(d, codes, logits.device)
                log_p = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1)
                taken.append(choose(d, log_p))
                codes[:, d] = taken[-1].cpu().numpy()
                pad = (0, widest - log_p.shape[-1])
                rows.append(nn.functional.pad(log_p, pad, value=-torch.inf))
            x = self._next_input(step, taken, memory)
            memory.append(h)
        return codes, torch.stack(rows, dim=1)

    def _advance(
        self, x: Tensor, state: list[tuple[Tensor, Tensor]]
    ) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        """Return the LSTM's next states, and the output [B, hidden] of its last layer."""
        after = []
        for cell, before in zip(self.cells, state, strict=True):
            after.append(cell(x, before))
            x = after[-1][0]
        return after, x

    def _logits(
        self, d: int, places: tuple[int, ...], keys: Mapping[int, Tensor], h: Tensor
    ) -> Tensor:
        """Return the logits [B, values] of choice `d`; `keys` are W_prev h_i by place."""
        if not places:
            logits: Tensor = self.heads[str(d)](h)
        else:
            pointed = torch.stack([keys[i] for i in places if i > 0], dim=1)
            mixed = torch.tanh(pointed + self.current(h).unsqueeze(1))
            scores = iter(self.attention(mixed).squeeze(-1).unbind(dim=1))
            zero = h.new_zeros(len(h))
            logits = torch.stack([next(scores) if i > 0 else zero for i in places], dim=1)
        logits = logits / self.temperature
        return logits if self.squash is None else self.squash * torch.tanh(logits)

    def _next_input(self, step: _Step, taken: list[Tensor], memory: list[Tensor]) -> Tensor:
        if not step.memory:
            x: Tensor = self.embeddings[str(step.choices[0])](taken[0])
            return x
        known = torch.stack(memory, dim=1)  # [B, places, hidden]
        places = torch.stack(
            [
                torch.tensor(where, device=known.device)[codes]
                for where, codes in zip(step.memory, taken, strict=True)
            ],
            dim=1,
        )  # [B, choices]
        chosen = (places > 0).to(known).unsqueeze(-1)
        rows = torch.arange(len(known), device=known.device).unsqueeze(1)
        total = (known[rows, places] * chosen).sum(dim=1)
        count = chosen.sum(dim=1)
        return torch.where(count > 0, total / count.clamp(min=1), self.nothing)

    def _mask(self, d: int, codes: Codes, device: torch.device) -> Tensor:
        """Return which values of choice `d` may follow the first d codes of each row, [B, V]."""
        if self._free:
            return torch.ones(len(codes), len(self.space.choices[d].values), dtype=torch.bool).to(
                device
            )
        masks = [self.space.mask(tuple(row)) for row in codes[:, :d].tolist()]
        return torch.as_tensor(np.stack(masks), device=device)


def _plan(space: Space) -> tuple[list[_Step], int]:
    """Return the steps that write an architecture of `space`, and how many inputs it points at."""
    pointers = [space.referents(d) for d in range(len(space.choices))]
    inputs = max((-r for p in pointers for r in p if r is not None and r < 0), default=0)
    groups: list[list[int]] = []
    for d, pointer in enumerate(pointers):
        in_a_row = bool(groups) and _is_bit(pointer) and _is_bit(pointers[groups[-1][-1]])
        if in_a_row:
            groups[-1].append(d)
        else:
            groups.append([d])
    step_of = {d: k for k, group in enumerate(groups) for d in group}

    def place(referent: int | None) -> int:
        if referent is None:
            return 0
        return -referent if referent < 0 else 1 + inputs + step_of[referent]

    steps = []
    for group in groups:
        points = [tuple(map(place, pointers[d])) for d in group if pointers[d]]
        steps.append(_Step(tuple(group), tuple(points)))
    return steps, inputs


def bits(space: Space) -> list[int]:
    """Return which choices are bits: to point at one part of the architecture, or at nothing."""
    return [d for d in range(len(space.choices)) if _is_bit(space.referents(d))]


def _is_bit(pointer: tuple[int | None, ...]) -> bool:
    return len(pointer) == 2 and pointer[0] is None


def chosen_log_policy(log_pi: Tensor, codes: Codes) -> Tensor:
    """Return log pi(a_t | a_1 .. a_{t-1}) of `codes` [B, T], from `log_pi` [B, T, V]: [B, T]."""
    index = torch.as_tensor(codes, device=log_pi.device).unsqueeze(-1)
    return log_pi.gather(-1, index).squeeze(-1)


def entropies(log_pi: Tensor) -> Tensor:
    """Return the entropy of each choice given what precedes it, [B, T], from [B, T, V]."""
    # Where pi is 0, so is pi log pi.
    finite = log_pi.masked_fill(log_pi == -torch.inf, 0.0)
    return -(log_pi.exp() * finite).sum(dim=-1)
