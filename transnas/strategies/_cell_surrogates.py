"""Surrogates that read a cell block by block and say how good it will be; of any size.

Liu et al., "Progressive Neural Architecture Search", ECCV 2018, section 4.2 and appendix B. A cell
of b blocks is 4 b tokens, for each block two inputs and two operations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Ensemble", "LSTMSurrogate", "MLPSurrogate"]

Tokens = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_EMBEDDING, _HIDDEN = 100, 100
_BATCH, _CHUNK = 64, 16_384
_FIRST_RATE, _RATE = 0.01, 0.002


class _Surrogate(nn.Module):
    """One embedding for all inputs, one for all operations, and a sigmoid of the last layer."""

    def __init__(self, states: int, operations: int) -> None:
        super().__init__()
        self.states = nn.Embedding(states, _EMBEDDING)
        self.operations = nn.Embedding(operations, _EMBEDDING)
        self.last = nn.Linear(_HIDDEN, 1)

    def embed(self, blocks: Tensor) -> Tensor:
        """Codes of blocks [..., 4] -> [..., 4, 100]."""
        return torch.cat([self.states(blocks[..., :2]), self.operations(blocks[..., 2:])], dim=-2)

    def score(self, hidden: Tensor) -> Tensor:
        """[N, 100] -> [N], between 0 and 1."""
        return torch.sigmoid(self.last(hidden)).squeeze(-1)


class LSTMSurrogate(_Surrogate):
    """An LSTM reads the tokens; its last output is what the cell is."""

    def __init__(self, states: int, operations: int) -> None:
        super().__init__(states, operations)
        self.lstm = nn.LSTM(_EMBEDDING, _HIDDEN, batch_first=True)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, 4 b] -> predictions [N]."""
        read = self.embed(tokens.reshape(len(tokens), -1, 4)).flatten(1, 2)
        return self.score(self.lstm(read)[0][:, -1])

    @torch.no_grad()
    def predict(self, tokens: Tokens) -> Tensor:
        """Return `forward` of many cells; what neighbouring rows begin with is read once."""
        read = torch.as_tensor(tokens)
        state: tuple[Tensor, Tensor] | None = None
        before = np.zeros(len(tokens), dtype=np.int64)
        new = np.arange(len(tokens)) == 0
        for t in range(tokens.shape[1]):
            # Rows begin a group where their first t + 1 tokens differ from the row above.
            new = new | np.concatenate([[True], tokens[1:, t] != tokens[:-1, t]])
            firsts = np.flatnonzero(new)
            table = self.states if t % 4 < 2 else self.operations
            if state is not None:
                parents = torch.as_tensor(before[firsts])
                state = (state[0][:, parents], state[1][:, parents])
            state = self.lstm(table(read[firsts, t]).unsqueeze(1), state)[1]
            before = np.cumsum(new) - 1
        assert state is not None  # a cell has blocks
        return self.score(state[0][0])[torch.as_tensor(before)]


class MLPSurrogate(_Surrogate):
    """The mean over blocks of their embeddings, through two layers of 100 ReLU units."""

    def __init__(self, states: int, operations: int) -> None:
        super().__init__(states, operations)
        self.first = nn.Linear(4 * _EMBEDDING, _HIDDEN)
        self.second = nn.Linear(_HIDDEN, _HIDDEN)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens [N, 4 b] -> predictions [N]."""
        blocks = self.embed(tokens.reshape(len(tokens), -1, 4)).flatten(-2)
        return self._read(self.first(blocks).mean(dim=1))

    def _read(self, mixed: Tensor) -> Tensor:
        return self.score(F.relu(self.second(F.relu(mixed))))

    @torch.no_grad()
    def predict(self, tokens: Tokens) -> Tensor:
        """Return `forward` of many cells; the first, linear layer runs once a distinct block."""
        base = 1 + int(tokens.max())
        codes = tokens.reshape(len(tokens), -1, 4) @ base ** np.arange(4)
        distinct, which = np.unique(codes, return_inverse=True)
        digits = distinct[:, None] // base ** np.arange(4) % base
        mapped = self.first(self.embed(torch.as_tensor(digits)).flatten(-2))
        rows = torch.as_tensor(which.reshape(codes.shape))
        found = [self._read(mapped[part].mean(dim=1)) for part in torch.split(rows, _CHUNK)]
        return torch.cat(found)


_KINDS: dict[str, type[LSTMSurrogate] | type[MLPSurrogate]] = {
    "lstm": LSTMSurrogate,
    "mlp": MLPSurrogate,
}


class Ensemble:
    """Surrogates trained from scratch on parts of the data, each without its own fifth.

    `data` are (tokens [n, 4 b], targets [n] in 0..1) for each size b; L1 loss, Adam with step
    0.01 if there are only cells of one block and 0.002 after. Biases start at the mean target.
    """

    def __init__(
        self,
        kind: Literal["lstm", "mlp"],
        sizes: tuple[int, int],
        data: Sequence[tuple[Tokens, Floats]],
        *,
        members: int,
        epochs: int,
        seed: int,
    ) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.members = [_KINDS[kind](*sizes) for _ in range(members)]
            folds = [torch.randperm(len(targets)) % max(2, members) for _, targets in data]
            for k, member in enumerate(self.members):
                kept = [fold != k for fold in folds]
                parts = [
                    (torch.as_tensor(tokens)[keep], torch.as_tensor(targets).float()[keep])
                    for (tokens, targets), keep in zip(data, kept, strict=True)
                ]
                _train(member, parts, epochs, _FIRST_RATE if len(data) == 1 else _RATE)

    def predict(self, tokens: Tokens) -> Floats:
        """Return the mean prediction for each cell, [N] from [N, 4 b]."""
        total = torch.stack([member.predict(tokens) for member in self.members])
        mean: Floats = total.double().mean(dim=0).numpy()
        return mean


def _train(
    member: LSTMSurrogate | MLPSurrogate,
    parts: Sequence[tuple[Tensor, Tensor]],
    epochs: int,
    rate: float,
) -> None:
    parts = [(tokens, targets) for tokens, targets in parts if len(targets)]
    if not parts:
        return
    mean = torch.cat([targets for _, targets in parts]).mean().clamp(0.01, 0.99)
    nn.init.constant_(member.last.bias, float(torch.logit(mean)))
    optimiser = torch.optim.Adam(member.parameters(), lr=rate)
    for _ in range(epochs):
        batches = [
            (tokens[rows], targets[rows])
            for tokens, targets in parts
            for rows in torch.split(torch.randperm(len(targets)), _BATCH)
        ]
        for i in torch.randperm(len(batches)).tolist():
            tokens, targets = batches[i]
            loss = F.l1_loss(member(tokens), targets)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
