"""In which order a round visits the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from transnas.meta.interleaved.matching import fit_to
from transnas.meta.interleaved.mmd import FACTORS, median_kernel, mmd2, squared_distances
from transnas.meta.interleaved.streams import fetch
from transnas.tasks import DataTask

__all__ = ["EXAMPLES", "order", "path", "task_distances"]

EXAMPLES = 256
"""Examples of each task that its similarity to others is judged by."""


def order(
    rule: str, active: Sequence[int], seed: int, iteration: int, round_: int, similar: Sequence[int]
) -> list[int]:
    """Return the tasks of one round: a permutation of `active`, which is in the given order.

    `similar` is the whole path for the rules `similar` and `dissimilar`.
    """
    if rule == "reverse":
        return list(reversed(active))
    if rule == "random":
        rng = np.random.default_rng([seed, iteration, round_])
        return [active[i] for i in rng.permutation(len(active)).tolist()]
    if rule in ("similar", "dissimilar"):
        return [k for k in similar if k in active]
    return list(active)


def path(distances: npt.NDArray[np.float64], start: int, nearest: bool) -> list[int]:
    """Return the greedy path from `start` to the nearest (or farthest) task not yet visited."""
    found, left = [start], [k for k in range(len(distances)) if k != start]
    while left:
        row = distances[found[-1]]
        best = min(left, key=lambda k: row[k]) if nearest else max(left, key=lambda k: row[k])
        found.append(best)
        left.remove(best)
    return found


def task_distances(
    tasks: Sequence[DataTask], encoder: nn.Module, task: DataTask, seed: int
) -> npt.NDArray[np.float64]:
    """Return unbiased squared MMDs between tasks [K, K], features under one frozen `encoder`.

    `encoder` maps images like those of `task` to features; images of the others are fitted to
    them. Examples are drawn from training data.
    """
    features = []
    for other in tasks:
        generator = torch.Generator().manual_seed(seed)
        chosen = torch.randperm(len(other.train), generator=generator)[:EXAMPLES]  # type: ignore[arg-type]
        features.append(_features(encoder, fit_to(fetch(other.train, chosen), task.signature)))
    everything = torch.cat(features)
    kernel = median_kernel(squared_distances(everything, everything), FACTORS)
    found = np.zeros((len(tasks), len(tasks)))
    for i, first in enumerate(features):
        for j, second in enumerate(features[:i]):
            found[i, j] = found[j, i] = float(mmd2(first, second, kernel))
    return found


def _features(encoder: nn.Module, images: Tensor) -> Tensor:
    device = next(encoder.parameters()).device
    with torch.no_grad():
        out: Tensor = encoder(images.to(device)).double().cpu()
    return out
