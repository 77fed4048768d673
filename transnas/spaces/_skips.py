"""Chains with skip bits: what the ENAS macro space and the convolutional chain share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._integers import read_integers

__all__ = ["ChainSpace", "chain_choices"]

_BITS = ("0", "1")


def chain_choices(layers: int, tokens: Sequence[Choice]) -> tuple[Choice, ...]:
    """Return, for each layer, its tokens and a bit for each earlier layer that it may read."""
    choices = []
    for k in range(layers):
        choices += [Choice(f"layer {k} {t.name}", t.values) for t in tokens]
        choices += [Choice(f"layer {k} reads {i}", _BITS) for i in range(k)]
    return tuple(choices)


class ChainSpace(Space):
    """Layers with tokens and bits; text is all codes as integers, layers separated by slashes."""

    layers: int
    tokens: tuple[Choice, ...]
    sequential: bool
    """Operations read the layer before, and bits are skips; else operations read what bits say."""

    def chain(self, arch: Architecture) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
        """Return tokens and chosen earlier layers of each layer."""
        found = []
        for codes in self._split(arch.values):
            words = tuple(t.values[c] for t, c in zip(self.tokens, codes, strict=False))
            bits = codes[len(self.tokens) :]
            found.append((words, tuple(i for i, bit in enumerate(bits) if bit)))
        return found

    def referents(self, choice: int) -> tuple[int | None, ...]:
        """Return nothing and the layer that a bit is about, by its last token."""
        layer = max(k for k in range(self.layers) if self._start(k) <= choice)
        about = choice - self._start(layer) - len(self.tokens)
        return (None, self._start(about) + len(self.tokens) - 1) if about >= 0 else ()

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the chain of tokens, then each skip: all paths would be exponentially many."""
        chain = self.chain(arch)
        skips = ((f"{i} to {k}",) for k, (_, reads) in enumerate(chain) for i in reads)
        return (tuple(_label(words) for words, _ in chain), *skips)

    def graph(self, arch: Architecture) -> Graph:
        """Return layers as nodes; an edge carries the operation of the layer that it enters."""
        nodes = ("image", *(f"layer {k}" for k in range(self.layers)))
        edges: list[tuple[str, str, str]] = []
        for k, (words, reads) in enumerate(self.chain(arch)):
            chosen = [i + 1 for i in reads]
            sources = [k] if self.sequential else chosen or [0]
            edges += [(nodes[s], nodes[k + 1], _label(words)) for s in sources]
            if self.sequential:
                edges += [(nodes[s], nodes[k + 1], "skip") for s in chosen]
        return Graph(nodes, tuple(edges))

    def to_text(self, arch: Architecture) -> str:
        """Return the codes of each layer."""
        return " / ".join(" ".join(map(str, codes)) for codes in self._split(arch.values))

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`; the slashes may be left out."""
        meaning = "for each layer its tokens and then a bit for each earlier layer"
        return self.architecture(read_integers(text, len(self.choices), meaning))

    def _split(self, values: Sequence[int]) -> list[tuple[int, ...]]:
        starts = [self._start(k) for k in range(self.layers + 1)]
        return [tuple(values[a:b]) for a, b in itertools.pairwise(starts)]

    def _start(self, layer: int) -> int:
        """Return the first choice of a layer: before it are its forerunners' tokens and bits."""
        return layer * len(self.tokens) + layer * (layer - 1) // 2


def _label(words: Sequence[str]) -> str:
    return " ".join(words)
