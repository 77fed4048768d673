"""The recurrent controller that ENAS learns by REINFORCE: an LSTM over a space's masked choices.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, appendix.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from transnas.spaces import Architecture, Space

__all__ = ["Controller", "Sample"]

_REACH = 0.1


class Sample(NamedTuple):
    """An architecture, the log of its probability [] and the entropy of its choices []."""

    arch: Architecture
    log_probability: Tensor
    entropy: Tensor
    probabilities: list[Tensor]
    """Of each choice given those before it."""


class Controller(nn.Module):
    """pi(a) = prod_d softmax(c tanh(W_d h_d / T))(a_d), h_d the LSTM's output after a_1 .. a_d-1.

    What the space masks has probability 0.
    """

    def __init__(
        self, space: Space, hidden: int = 64, temperature: float = 5.0, squash: float = 2.5
    ) -> None:
        super().__init__()
        self.space = space
        self.temperature, self.squash = temperature, squash
        counts = [len(choice.values) for choice in space.choices]
        self.cell = nn.LSTMCell(hidden, hidden)
        self.start = nn.Parameter(torch.empty(hidden))
        self.embeddings = nn.ModuleList(nn.Embedding(count, hidden) for count in counts)
        self.heads = nn.ModuleList(nn.Linear(hidden, count) for count in counts)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -_REACH, _REACH)

    def forward(self, generator: torch.Generator | None = None) -> Sample:
        """Draw an architecture; without a generator, take the most likely value of each choice."""
        h = c = torch.zeros(1, len(self.start), device=self.start.device)
        x = self.start[None]
        codes: list[int] = []
        log_p, entropy, seen = self.start.new_zeros(()), self.start.new_zeros(()), []
        for embedding, head in zip(self.embeddings, self.heads, strict=True):
            h, c = self.cell(x, (h, c))
            logits = self.squash * torch.tanh(head(h)[0] / self.temperature)
            allowed = torch.as_tensor(self.space.mask(tuple(codes)), device=logits.device)
            log_row = logits.masked_fill(~allowed, -torch.inf).log_softmax(0)
            row = log_row.exp()
            if generator is None:
                code = row.argmax().reshape(1)
            else:
                code = torch.multinomial(row, 1, generator=generator)
            codes.append(int(code))
            log_p = log_p + log_row[codes[-1]]
            entropy = entropy - (row * log_row.masked_fill(~allowed, 0.0)).sum()
            seen.append(row.detach())
            x = embedding(code)
        return Sample(Architecture(self.space.name, tuple(codes)), log_p, entropy, seen)
