"""The store model with learnt latent features, and the average of two models' wishes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transnas.meta.catch.plus.latent import Latent, inputs_of
from transnas.meta.catch.plus.settings import CatchPlusSettings
from transnas.meta.store import Search, SmoothedSource, source_values
from transnas.strategies.bayesian import Candidates, Float

__all__ = ["Ensemble", "LatentColumns", "ensemble"]

PAIRS = 2_000
"""Pairs of candidates whose median squared latent distance is the scale of the latent kernel."""


class LatentColumns:
    """k = (1 - s) k_store + s exp(-|h - h'|^2 / m): what looks alike to the sources is alike.

    h are latent features, m the median of |h - h'|^2 over random pairs.
    """

    def __init__(self, candidates: Candidates, latents: Float, share: float) -> None:
        """Take the latents [N, h] of N candidates."""
        self._candidates = candidates
        self._latents = latents
        self._norms = (latents * latents).sum(axis=1)
        self._share = np.float32(share)
        a, b = np.random.default_rng(0).integers(len(latents), size=(2, PAIRS))
        squares = ((latents[a] - latents[b]) ** 2).sum(axis=1)
        self._scale = np.float32(1 / max(float(np.median(squares)), 1e-12))

    def __len__(self) -> int:
        return len(self._latents)

    def column(self, i: int) -> Float:
        """Return the kernel of candidate `i` with every candidate, [N]."""
        squares = self._norms + self._norms[i] - 2 * (self._latents @ self._latents[i])
        alike = np.exp(-np.maximum(squares, 0) * self._scale)
        column: Float = (1 - self._share) * self._candidates.column(i) + self._share * alike
        return column


class Ensemble(Search):
    """A search whose acquisition is the mean of its own and other models', each up to scale."""

    others: Sequence[Search] = ()

    def observe(self, i: int, reward: float) -> None:
        """Take in the reward of candidate `i`."""
        super().observe(i, reward)
        for other in self.others:
            other.observe(i, reward)

    def _acquisition(self) -> Float:
        total = self._scaled(super()._acquisition())
        for other in self.others:
            total = total + self._scaled(other._acquisition())
        return total

    def _scaled(self, worth: Float) -> Float:
        scaled: Float = worth / max(float(worth[self.free].max(initial=0)), 1e-30)
        return scaled


def ensemble(
    candidates: Candidates,
    sources: Sequence[SmoothedSource],
    latent: Latent | None,
    settings: CatchPlusSettings,
) -> Search:
    """Return the search of catch+ over `candidates`; without sources, that of the store model.

    Predictions stand in for F_j half and half with the Gaussian processes; each source keeps its
    own slope, whose posterior is what the target's rewards say about the task: in a linear head
    over shared features it is the part of CATCH's context z.
    """
    if latent is None or not sources:
        return Search(candidates, sources)
    space = candidates.space
    latents, predicted = latent.apply(inputs_of(space, candidates.features, candidates.kernel))
    smoothed = source_values(candidates, sources)
    values: Float = (smoothed + predicted) * np.float32(0.5) if settings.learnt_mean else smoothed
    share = settings.latent_share
    columns = LatentColumns(candidates, latents, share) if share else candidates
    search = Ensemble(candidates, sources, values, columns)
    if settings.ensemble:
        search.others = [Search(candidates, sources, smoothed)]
    return search
