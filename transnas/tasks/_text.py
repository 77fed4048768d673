"""Text as batches: parallel streams cut into windows that follow one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.tasks._tensors import Batched

__all__ = [
    "END",
    "WINDOW",
    "Carried",
    "Continuation",
    "TextSplit",
    "encode",
    "read_lines",
    "read_text",
]

END = "<eos>"
"""Token that stands for the end of a line."""
WINDOW = 35
"""Tokens through which a gradient goes back in time."""


@dataclass
class Carried:
    """The state that a network takes along from one window to the next, [B, hidden]."""

    state: Tensor | None = None


@dataclass(frozen=True)
class Continuation:
    """Targets of a window: the token after each of its tokens, int64 [B, T].

    All windows of a pass share `carried`, which starts empty.
    """

    tokens: Tensor
    carried: Carried

    def apart(self) -> Continuation:
        """Return the same targets with a state of their own, equal to the carried one."""
        return Continuation(self.tokens, replace(self.carried))


@dataclass(frozen=True)
class TextSplit(Batched):
    """`tokens` int64 [N], read as `streams` texts beside each other, `window` tokens at a time.

    Tokens left over where the streams are cut to one length are not used. Item i is token
    i % streams of window i // streams, so a batch of `streams` items is one window.
    """

    tokens: Tensor
    streams: int = 1
    window: int = WINDOW
    follows = True
    carried: Carried = field(default_factory=Carried, compare=False)

    @property
    def length(self) -> int:
        """Tokens of a stream."""
        return len(self.tokens) // self.streams

    def __len__(self) -> int:
        return self.streams * -(-(self.length - 1) // self.window)

    def arranged(self, size: int) -> TextSplit:
        """Return the same text as `size` streams, fewer if they would be shorter than 2 tokens."""
        return replace(self, streams=max(1, min(size, len(self.tokens) // 2)), carried=Carried())

    def memory(self) -> Tensor | None:
        """Return the state that the next window starts from."""
        return self.carried.state

    def recall(self, memory: Tensor) -> None:
        """Let the next window start from this state."""
        self.carried.state = memory.to(self.tokens.device)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        window, stream = divmod(index % len(self), self.streams)
        tokens, targets = self._window(window)
        return tokens[stream], targets[stream]

    def batch(
        self, indices: Tensor, augmentation: str = "none", generator: torch.Generator | None = None
    ) -> tuple[Tensor, Continuation]:
        """Return tokens int64 [B, T] and what follows; the first window starts a new pass."""
        window = int(indices[0]) // self.streams
        if window == 0:
            self.carried.state = None
        tokens, targets = self._window(window)
        return tokens, Continuation(targets, self.carried)

    def _window(self, window: int) -> tuple[Tensor, Tensor]:
        text = self.tokens[: self.streams * self.length].view(self.streams, self.length)
        start = window * self.window
        piece = text[:, start : start + self.window + 1]
        return piece[:, :-1], piece[:, 1:]

    def to(self, device: torch.device | str) -> TextSplit:
        """Return the split with its tokens on `device`."""
        return replace(self, tokens=self.tokens.to(device), carried=Carried())

    def joined(self, other: Batched) -> TextSplit | None:
        """Return both texts, one after the other; None for what is no text."""
        if not isinstance(other, TextSplit):
            return None
        return replace(self, tokens=torch.cat([self.tokens, other.tokens]), carried=Carried())


def read_text(path: Path) -> str:
    """Return what a file of UTF-8 says; raises `InputError` for another."""
    try:
        return path.read_text(encoding="utf-8-sig")  # some editors begin it with a mark
    except (OSError, UnicodeDecodeError) as error:
        reason = str(error).split("\n")[0]
        raise InputError(
            f"text {str(path)!r} is not readable ({reason}); accepted: UTF-8 text"
        ) from error


def read_lines(path: Path) -> list[str]:
    """Return the words of a text, `END` after each line; raises `InputError` for no text."""
    text = read_text(path)
    words = [word for line in text.splitlines() if line.strip() for word in (*line.split(), END)]
    if len(set(words)) < 3:
        raise InputError(
            f"text {str(path)!r} has {len(set(words) - {END})} different word(s); "
            "accepted: 2 or more, separated by blanks"
        )
    return words


def vocabulary(words: Iterable[str]) -> tuple[str, ...]:
    """Return every word once, the most frequent first."""
    return tuple(word for word, _ in sorted(Counter(words).items(), key=lambda p: (-p[1], p[0])))


def encode(words: Sequence[str], known: Sequence[str], unknown: str | None, where: str) -> Tensor:
    """Return words as their places in `known`, int64 [N].

    A word that is not there counts as `unknown`; raises `InputError` where that is None.
    """
    codes = {word: code for code, word in enumerate(known)}
    other = None if unknown is None else codes[unknown]
    found = [codes.get(word, other) for word in words]
    if None in found:
        raise InputError(
            f"word {words[found.index(None)]!r} of {where} is not in the training text; accepted: "
            "its words, or any if '<unk>' is one of them"
        )
    return torch.tensor(found, dtype=torch.int64)
