"""A prior of catch+: smoothed sources, and the networks that were trained on all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.meta._prior import Prior, read_prior, register, write_prior
from transnas.meta.catch._choices import choices_of, read_choices, require_choices
from transnas.meta.catch.plus.latent import Latent, Rows, fit, inputs_of
from transnas.meta.catch.plus.settings import CatchPlusSettings
from transnas.meta.store import SmoothedSource, SourceTask, StorePrior, learn
from transnas.spaces import Space
from transnas.strategies import require_categorical
from transnas.strategies.bayesian import describe, is_listable, kernel_of, listed

if TYPE_CHECKING:
    from transnas.meta.catch.plus.strategy import CatchPlus

__all__ = ["CatchPlusPrior", "latents_of", "learn_plus"]

_KIND, _FORMAT = "catch+", 1
_STORE = "store"
"""Folder of the smoothed sources inside the prior's."""


@register(_KIND)
@dataclass(frozen=True)
class CatchPlusPrior(Prior):
    """What `store` learns, and networks; without sources there are none."""

    strategy_name = "catch+"

    store: StorePrior
    latent: Latent | None
    settings: CatchPlusSettings

    def strategy(
        self, space: Space, seed: int = 0, objectives: Sequence[Objective] = (Objective(),)
    ) -> CatchPlus:
        """Return a search of a new task on `space`; raises `InputError` for another space."""
        from transnas.meta.catch.plus.strategy import CatchPlus

        own = self.store.space
        if space.name != own.name:
            raise InputError(
                f"prior is of space {own.name!r}; accepted for this search: {space.name!r}"
            )
        require_choices(choices_of(own), own.name, space)
        return CatchPlus(space, seed, objectives, self.settings, prior=self)

    def save(self, folder: Path) -> None:
        """Write the prior into `folder`."""
        self.store.save(folder / _STORE)
        arrays = {} if self.latent is None else dict(self.latent.arrays)
        space = self.store.space
        data = {
            "space": space.name,
            "choices": choices_of(space),
            "settings": asdict(self.settings),
        }
        write_prior(folder, _KIND, _FORMAT, data, arrays)

    @classmethod
    def load(cls, folder: Path, space: Space) -> CatchPlusPrior:
        """Read a prior that `save` wrote; raises `InputError` if it is none of `space`."""
        data, arrays = read_prior(folder, _KIND, _FORMAT, space)
        try:
            choices = read_choices(data["choices"])
            settings = CatchPlusSettings(**data["settings"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"prior {str(folder)!r} is not readable ({error}); accepted: one that this "
                "version wrote"
            ) from error
        require_choices(choices, space.name, space)
        store = StorePrior.load(folder / _STORE, space)
        return cls(store, Latent(arrays) if arrays else None, settings)

    def learnt_settings(self) -> Mapping[str, Any]:
        """Return the settings that it was learnt with."""
        return asdict(self.settings)


def learn_plus(
    sources: Sequence[SourceTask],
    space: Space,
    seed: int = 0,
    settings: CatchPlusSettings | None = None,
) -> CatchPlusPrior:
    """Return the prior of any number of earlier studies on `space`; see `store.learn`.

    Raises `InputError` for a space with number ranges.
    """
    require_categorical(space, "method 'catch+'")
    store = learn(sources, space)
    return CatchPlusPrior(store, latents_of([store], [seed])[0], settings or CatchPlusSettings())


def latents_of(priors: Sequence[StorePrior], seeds: Sequence[int]) -> list[Latent | None]:
    """Return the networks of many priors, trained together; None for one without structure."""
    rows = [_rows(prior) for prior in priors]
    some = [i for i, row in enumerate(rows) if row is not None]
    fitted = fit([r for r in rows if r is not None], [seeds[i] for i in some]) if some else []
    found: list[Latent | None] = [None] * len(priors)
    for i, latent in zip(some, fitted, strict=True):
        found[i] = latent
    return found


def _rows(prior: StorePrior) -> Rows | None:
    """Return what networks learn from: the normal scores that the sources were smoothed from.

    A source whose smoothing found no structure (all rewards equal) teaches nothing.
    """
    taught = [(j, s) for j, s in enumerate(prior.sources) if s.weights.any()]
    if not taught:
        return None
    kinds = [np.full(len(s.architectures), j) for j, s in taught]
    scores = [s.scores for _, s in taught]
    inputs = [_inputs(prior.space, s) for _, s in taught]
    return Rows(
        np.concatenate(inputs), np.concatenate(kinds), np.concatenate(scores), len(prior.sources)
    )


def _inputs(space: Space, source: SmoothedSource) -> Any:
    if is_listable(space):
        candidates = listed(space)
        rows = np.array([candidates.position[arch] for arch in source.architectures])
        return inputs_of(space, candidates.features[rows], candidates.kernel)
    return inputs_of(space, describe(space, source.architectures), kernel_of(space))
