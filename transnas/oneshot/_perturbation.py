"""Selection by perturbation: what a supernet misses most is kept, not what weighs most.

Wang et al., "Rethinking Architecture Selection in Differentiable NAS", ICLR 2021. Edges in random
order: each operation is taken out of the mixture in turn, and the one whose loss costs the most
validation accuracy stays alone. Then each edge is taken out in turn, for spaces that keep a few.
Deviation: weights are not tuned between edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from transnas.networks import Supernet
from transnas.networks.relaxations import Mix

__all__ = ["perturbed_shares"]

Accuracy = Callable[[Mix], float]
"""Of the supernet under a mixture, on validation data."""


@torch.no_grad()
def perturbed_shares(net: Supernet, accuracy: Accuracy, rng: np.random.Generator) -> Tensor:
    """Return shares [edges, operations] for `net.discretise`: of one operation an edge.

    Its share is 1 plus the accuracy that is lost without the edge. Rows are visited in the order
    that `rng` draws.
    """
    logits = net.logits.detach().masked_fill(net.missing, -math.inf)
    for row in rng.permutation(len(logits)).tolist():
        codes = net.selectable(row)
        without = []
        for code in codes:
            trial = logits.clone()
            trial[row, code] = -math.inf
            without.append(accuracy(_mixture(trial)))
        kept = codes[without.index(min(without))]
        alone = torch.full_like(logits[row], -math.inf)
        alone[kept] = 0.0
        logits[row] = alone
    weights = logits.softmax(dim=1)
    whole = accuracy(Mix(weights))
    shares = weights.cpu().double()
    for row in range(len(weights)):
        trial = weights.clone()
        trial[row] = 0.0
        shares[row] *= 1.0 + whole - accuracy(Mix(trial))
    return shares


def _mixture(logits: Tensor) -> Mix:
    """Return the softmax of each row; all 0 where no operation is left."""
    return Mix(logits.softmax(dim=1).nan_to_num(0.0))
