"""How well shared weights rank architectures, against what they reach when trained alone.

Yu et al., "Evaluating the Search Phase of Neural Architecture Search", ICLR 2020; re-fitting the
statistics of normalisations before an architecture is scored: Zela et al. and Yu & Peng, 2020.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from transnas.evaluation.training import Batches, measure
from transnas.oneshot._base import Batch, OneShot
from transnas.oneshot._streams import seeded
from transnas.spaces import Architecture

__all__ = ["kendall", "precision_at", "recalibrate", "shared_accuracy"]

Floats = npt.NDArray[np.float64]
_RECALIBRATED_ON = 20
"""Batches of training data for the statistics of normalisations."""


def shared_accuracy(search: OneShot, arch: Architecture, recalibrated: bool) -> float:
    """Return the accuracy of `arch` with the shared weights on the validation split.

    With the statistics of each validation batch, or of `recalibrate` on training data: NaN where
    operations have a part of the channels, and so no network to recalibrate.
    """
    if not recalibrated:
        return search.checked_accuracy(arch, None)
    if search.net.form.partial > 1:
        return math.nan
    network = search.net.discrete(arch).to(search.at.device)
    order = seeded(search.seed, "recalibration")  # splits are often sorted by class
    batches = Batches(search.task.train, search.settings.batch_size, search.at.device, order)
    recalibrate(network, list(islice(batches.epoch(), _RECALIBRATED_ON)))
    return measure(network, search.task.validation, search.at)["accuracy"]


@torch.no_grad()
def recalibrate(network: nn.Module, batches: Sequence[Batch]) -> None:
    """Set the running statistics of every normalisation to their means over `batches`."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            module.reset_running_stats()
            module.momentum = None  # a plain mean over all batches
    network.train()
    for images, _ in batches:
        network(images)
    network.eval()


def kendall(first: Floats, second: Floats) -> float:
    """Return Kendall's tau-b of two rankings with ties; NaN if one is constant or not known."""
    from scipy.stats import kendalltau

    if np.isnan([first, second]).any():
        return math.nan
    if len(set(first.tolist())) < 2 or len(set(second.tolist())) < 2:
        return math.nan
    return float(kendalltau(first, second).statistic)


def precision_at(k: int, scores: Floats, truth: Floats) -> float:
    """Return which part of the k architectures of highest score is among the k truly best."""
    best = set(np.argsort(-truth, kind="stable")[:k].tolist())
    chosen = np.argsort(-scores, kind="stable")[:k].tolist()
    return sum(i in best for i in chosen) / k
