"""Architectures as numbers for the kernel, from what every space can tell about itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from transnas.spaces import Architecture, Space

__all__ = ["Features", "Float", "describe", "similarity"]

Float = npt.NDArray[np.float32]

_WHOLE_PATH, _OPERATION, _PAIR = 1.0, 0.5, 0.5
"""Weights of a path's string, of each of its operations and of each two in sequence."""


@dataclass(frozen=True)
class Features:
    """Three views of n architectures.

    Attributes:
        codes: Codes of the known members of each architecture's isomorphism class, pruned (what
            cannot matter is neutral) and each once: [members, choices].
        starts: Where the members of each architecture begin in `codes`, and their end: [n + 1].
        self_similarity: Mean `similarity` between the members of each architecture, [n].
        summary: Numbers and lengths of paths, operations on paths and in choices, and numbers
            beside the architecture scaled to [0, 1]; [n, d], not yet standardised.
        paths: Weighted counts of path strings, operations and pairs of operations over all
            input-output paths, [n, terms].
        terms: The column of each term of `paths`.
    """

    codes: npt.NDArray[np.int16]
    starts: npt.NDArray[np.int64]
    self_similarity: Float
    summary: npt.NDArray[np.float64]
    paths: csr_matrix
    terms: dict[tuple[str, ...], int]

    def __len__(self) -> int:
        return len(self.summary)

    def __getitem__(self, rows: npt.NDArray[np.int64]) -> Features:
        """Return the features of some of the architectures."""
        members = [np.arange(self.starts[i], self.starts[i + 1]) for i in rows.tolist()]
        starts = np.concatenate([[0], np.cumsum([len(m) for m in members])]).astype(np.int64)
        codes = self.codes[np.concatenate(members)]
        return Features(
            codes,
            starts,
            self.self_similarity[rows],
            self.summary[rows],
            self.paths[rows],
            self.terms,
        )


def describe(
    space: Space,
    archs: Sequence[Architecture],
    members: Mapping[Architecture, Sequence[Architecture]] | None = None,
) -> Features:
    """Return the features of `archs`.

    `members` gives the isomorphism class of each, where the space could be enumerated; without
    it an architecture stands for itself alone.
    """
    labels = sorted({value for choice in space.choices for value in choice.values})
    summaries, counts = [], []
    terms: dict[tuple[str, ...], int] = {}
    codes: list[tuple[int, ...]] = []
    starts = [0]
    for arch in archs:
        pruned = space.pruned(arch).values
        known = [arch] if members is None else members[arch]
        codes += sorted({space.pruned(member).values for member in known})
        starts.append(len(codes))
        paths = space.paths(arch)
        summaries.append(_summary(space, pruned, paths, arch.numbers, labels))
        counted = _count(paths)
        for term in counted:
            terms.setdefault(term, len(terms))
        counts.append(counted)
    lengths = [len(counted) for counted in counts]
    columns = [terms[term] for counted in counts for term in counted]
    values = np.array([v for counted in counts for v in counted.values()], dtype=np.float32)
    rows = np.concatenate([[0], np.cumsum(lengths)]) if lengths else np.zeros(1)
    matrix = csr_matrix((values, columns, rows), shape=(len(archs), len(terms)))
    table = np.array(codes, dtype=np.int16).reshape(len(codes), len(space.choices))
    own = [_self_similarity(table[i:j]) for i, j in pairwise(starts)]
    return Features(
        table,
        np.array(starts, dtype=np.int64),
        np.array(own, dtype=np.float32),
        np.array(summaries, dtype=np.float64),
        matrix,
        terms,
    )


def similarity(a: npt.NDArray[np.int16], b: npt.NDArray[np.int16]) -> Float:
    """Return exp(-h / (c / 2)), h of c codes differing, for every pair; [len(a), len(b)]."""
    differ: Float = np.zeros((len(a), len(b)), dtype=np.float32)
    for column_a, column_b in zip(a.T, b.T, strict=True):
        differ += column_a[:, None] != column_b[None, :]
    differ *= np.float32(-2.0 / max(a.shape[1], 1))
    np.exp(differ, out=differ)
    return differ


def _self_similarity(members: npt.NDArray[np.int16]) -> float:
    return float(similarity(members, members).mean()) if len(members) > 1 else 1.0


def _summary(
    space: Space,
    codes: Sequence[int],
    paths: Sequence[tuple[str, ...]],
    numbers: Sequence[float],
    labels: Sequence[str],
) -> list[float]:
    lengths = [len(path) for path in paths] or [0]
    on_paths = Counter(label for path in paths for label in path)
    chosen = Counter(c.values[v] for c, v in zip(space.choices, codes, strict=True))
    return [
        len(paths),
        len(set(paths)),
        sum(lengths),
        max(lengths),
        min(lengths),
        *(on_paths[label] for label in labels),
        *(chosen[label] for label in labels),
        *(r.to_unit(number) for r, number in zip(space.ranges, numbers, strict=True)),
    ]


def _count(paths: Sequence[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    counted: dict[tuple[str, ...], float] = {}
    for path in paths:
        weighted = [(("path", *path), _WHOLE_PATH)]
        weighted += [(("operation", label), _OPERATION) for label in path]
        weighted += [(("pair", *pair), _PAIR) for pair in pairwise(path)]
        for term, weight in weighted:
            counted[term] = counted.get(term, 0.0) + weight
    return counted
