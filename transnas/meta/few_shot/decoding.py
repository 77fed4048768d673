"""From adapted architecture parameters to the architecture of each task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.networks.few_shot import FewShotSupernet
from transnas.networks.few_shot._two_cells import CELLS, EDGES
from transnas.spaces import Architecture
from transnas.spaces._cells import Block
from transnas.spaces.darts import DARTS, NODES, OPERATIONS

__all__ = [
    "SPACE",
    "Diversity",
    "decode",
    "diversity",
    "finite",
    "log_likelihood",
    "one_hot",
    "samples",
]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
SPACE = DARTS()
_NONE = OPERATIONS.index("none")


def finite(logits: Tensor) -> Tensor:
    """Return which of B tasks have finite logits [B, 28, 8], so that they can be decoded: [B]."""
    return logits.flatten(1).isfinite().all(dim=1)


def decode(logits: Tensor) -> list[Architecture]:
    """Return the architecture of each of B tasks from logits [B, 28, 8].

    The rule of DARTS: a node keeps the two edges with the largest share of one operation; shares
    are of all operations, `none` among them, but `none` is not chosen; ties go to the first. The
    two edges of a node are sorted, so equal cells are equal architectures.
    """
    if not bool(logits.isfinite().all()):
        raise InputError("architecture logits are not finite; accepted: finite numbers")
    shares = logits.detach().softmax(dim=2)
    shares[:, :, _NONE] = -1.0
    strength, best = (t.cpu().numpy() for t in shares.max(dim=2))
    return [_cells(s, b) for s, b in zip(strength, best, strict=True)]


def _cells(strength: Floats, best: Ints) -> Architecture:
    cells = {}
    for k, (kind, _) in enumerate(CELLS):
        blocks = []
        for node in range(2, NODES + 2):
            rows = [e + k * len(EDGES) for e, (_, target) in enumerate(EDGES) if target == node]
            first, second = sorted(sorted(rows, key=lambda r: -strength[r])[:2])
            pairs = [(EDGES[r % len(EDGES)][0], OPERATIONS[best[r]]) for r in (first, second)]
            blocks.append(Block((pairs[0], pairs[1])))
        cells[kind] = blocks
    return SPACE.from_blocks(cells)


def samples(logits: Tensor, count: int, rng: np.random.Generator) -> list[Architecture]:
    """Decode `count` Gumbel-perturbed copies of logits [28, 8]: architectures around a task's."""
    noise = torch.from_numpy(rng.gumbel(size=(count, *logits.shape))).to(logits)
    return decode(logits[None] + noise)


def one_hot(archs: Sequence[Architecture], supernet: FewShotSupernet) -> Tensor:
    """Return logits [B, 28, 8] under which the supernet computes each architecture alone.

    An edge that an architecture lacks is `none`. The logits are finite, so that their softmax is
    one-hot up to rounding.
    """
    sure = 1e4
    logits = torch.zeros(len(archs), *supernet.shapes["logits"])
    logits[:, :, _NONE] = sure
    for b, arch in enumerate(archs):
        for row, operation in _edges(arch):
            logits[b, row, _NONE] = 0.0
            logits[b, row, operation] = sure
    return logits


def _edges(arch: Architecture) -> Iterator[tuple[int, int]]:
    """Yield the row of logits and the operation of each edge that an architecture has."""
    cells = SPACE.cells(arch)
    for k, (kind, _) in enumerate(CELLS):
        for node, block in enumerate(cells[kind].blocks, start=2):
            for state, operation in block.pairs:
                yield k * len(EDGES) + EDGES.index((state, node)), OPERATIONS.index(operation)


@dataclass(frozen=True)
class Diversity:
    """Whether tasks get architectures of their own; if `distinct` is 1, they do not."""

    counts: tuple[tuple[Architecture, int], ...]
    """Distinct architectures and how many tasks have each, the most frequent first."""
    diverged: int
    """Tasks whose logits are not finite; they are left out of the other figures."""
    hamming: float
    """Mean number of choices in which a task's architecture differs from the meta-learnt one."""
    moved: float
    """Largest change of a logit in the inner loop, over all tasks."""

    @property
    def distinct(self) -> int:
        """Number of distinct architectures."""
        return len(self.counts)


def diversity(adapted: Tensor, meta: Tensor) -> Diversity:
    """Compare adapted logits [B, 28, 8] with the meta-learnt ones [28, 8].

    Distances are NaN if no task is finite.
    """
    kept = adapted[finite(adapted)]
    diverged = len(adapted) - len(kept)
    if len(kept) == 0:
        return Diversity((), diverged, float("nan"), float("nan"))
    archs, (origin,) = decode(kept), decode(meta[None])
    differ = [sum(a != b for a, b in zip(x.values, origin.values, strict=True)) for x in archs]
    counts = Counter(archs).most_common()
    moved = float((kept - meta).abs().max())
    return Diversity(tuple(counts), diverged, float(np.mean(differ)), moved)


def log_likelihood(logits: Tensor, archs: Sequence[Architecture]) -> Tensor:
    """Return how well architectures agree with logits [28, 8]: the sum of their log shares."""
    shares, zero = logits.log_softmax(dim=1), torch.zeros(())
    return torch.stack([sum((shares[edge] for edge in _edges(arch)), zero) for arch in archs])
