"""A prior made from earlier studies on the same space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.meta._prior import Prior, read_prior, register, write_prior
from transnas.meta.store._sources import (
    SmoothedSource,
    SourceTask,
    best_first,
    distinct,
    normal_scores,
    smooth,
)
from transnas.meta.store.strategy import StoreTransfer
from transnas.spaces import Architecture, Space
from transnas.strategies.bayesian import Float, describe, is_listable, kernel_of, listed

__all__ = ["StorePrior", "learn"]

_KIND, _FORMAT = "store", 2
SAMPLE = 256
"""Architectures over which a source's doubt is averaged."""
FEWEST = 3
"""Sources with fewer distinct architectures say nothing about an order and are ignored."""


@register(_KIND)
@dataclass(frozen=True)
class StorePrior(Prior):
    """Smoothed earlier studies on one space; none is allowed and means a search from scratch."""

    strategy_name = "store-transfer"

    space: Space
    sources: tuple[SmoothedSource, ...]

    def strategy(
        self, space: Space, seed: int = 0, objectives: Sequence[Objective] = (Objective(),)
    ) -> StoreTransfer:
        """Return a search of a new task on `space`; raises `InputError` for another space."""
        if space.name != self.space.name:
            raise InputError(
                f"prior is of space {self.space.name!r}; accepted for this search: {space.name!r}"
            )
        return StoreTransfer(space, seed, objectives, sources=self.sources)

    def save(self, folder: Path) -> None:
        """Write the prior into `folder`."""
        sources = [
            {
                "name": source.name,
                "noise": source.noise,
                "doubt": source.doubt,
                "architectures": [self.space.to_json(arch) for arch in source.architectures],
            }
            for source in self.sources
        ]
        arrays = {f"weights.{j}": source.weights for j, source in enumerate(self.sources)}
        arrays |= {f"scores.{j}": source.scores for j, source in enumerate(self.sources)}
        data = {"space": self.space.name, "sources": sources}
        write_prior(Path(folder), _KIND, _FORMAT, data, arrays)

    @classmethod
    def load(cls, folder: Path, space: Space) -> StorePrior:
        """Read a prior that `save` wrote.

        Raises `InputError` if `folder` holds no readable prior of `space`.
        """
        data, arrays = read_prior(Path(folder), _KIND, _FORMAT, space)
        try:
            sources = [
                SmoothedSource(
                    source["name"],
                    tuple(space.from_json(text) for text in source["architectures"]),
                    arrays[f"scores.{j}"],
                    arrays[f"weights.{j}"],
                    source["noise"],
                    source["doubt"],
                )
                for j, source in enumerate(data["sources"])
            ]
        except (KeyError, TypeError) as error:
            raise InputError(
                f"prior {str(folder)!r} is damaged: {error} is missing; accepted: a prior as saved"
            ) from error
        return cls(space, tuple(sources))


def learn(sources: Sequence[SourceTask], space: Space) -> StorePrior:
    """Return the prior of any number of earlier studies on `space`.

    Failed (NaN) measurements are ignored, repeated ones averaged, isomorphs merged; sources
    with fewer than 3 distinct architectures are left out.
    """
    smoothed = []
    for source in sources:
        archs, rewards = distinct(space, source)
        if len(archs) < FEWEST:
            continue
        kept = best_first(rewards)
        archs, scores = [archs[i] for i in kept.tolist()], normal_scores(rewards)[kept]
        weights, noise, doubt = smooth(*_kernels(space, archs), scores)
        smoothed.append(SmoothedSource(source.name, tuple(archs), scores, weights, noise, doubt))
    return StorePrior(space, tuple(smoothed))


def _kernels(space: Space, archs: Sequence[Architecture]) -> tuple[Float, Float]:
    """Return the kernel of `archs` with themselves, and of a sample of the space with them."""
    if is_listable(space):
        candidates = listed(space)
        positions = np.array([candidates.position[arch] for arch in archs])
        sample = np.unique(np.linspace(0, len(candidates) - 1, SAMPLE).astype(np.int64))
        return candidates.between(positions, positions), candidates.between(sample, positions)
    features = describe(space, archs)
    rng = np.random.default_rng(0)
    drawn = describe(space, [space.canonical(space.sample(rng)) for _ in range(SAMPLE)])
    kernel = kernel_of(space)
    return kernel.between(features, features), kernel.between(drawn, features)
