"""Meta-training: one task after another, the parameters carried over. R replicates at once.

There is no inner and outer gradient: what is learnt across tasks is phi, theta and psi, and the
moments of their optimiser. History, memory, epsilon and the scale of rewards start anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from transnas._errors import InputError
from transnas.meta._prior import has_prior, read_prior, write_prior
from transnas.meta.catch._same import require_same
from transnas.meta.catch.agent import Agent, run_task
from transnas.meta.catch.catcher import Arrays, Catcher, pick
from transnas.meta.catch.coding import Coding
from transnas.meta.catch.families import TaskFamily
from transnas.meta.catch.prior import CatchPrior
from transnas.meta.catch.settings import CatchSettings
from transnas.spaces import Space

__all__ = ["MetaTrained", "meta_train"]

_KIND, _FORMAT = "catch-checkpoint", 1


@dataclass(frozen=True)
class MetaTrained:
    """R meta-trained replicates: what they learnt [R, ...], what from, and the family's space."""

    space: Space
    source: Space
    settings: CatchSettings
    arrays: Arrays
    learnt_from: dict[str, Any]
    dtype: torch.dtype = torch.float32

    def agent(
        self,
        replicates: Sequence[int],
        seeds: Sequence[int],
        settings: CatchSettings | None = None,
        inherit_mask: bool = False,
    ) -> Agent:
        """Return one agent that adapts copies of these replicates, each under its own seed.

        `settings` replace those of meta-training, whose sizes they keep; with `inherit_mask` the
        agent asks only for what the family's mask allows.
        """
        settings = settings or self.settings
        space = self.source if inherit_mask else self.space
        coding = Coding(space, self.dtype, settings.masking, settings.isomorphs)
        catcher = Catcher([0], coding.features, settings, self.dtype)
        catcher.load(pick(self.arrays, replicates))
        return Agent(catcher, coding, seeds, settings.epsilon_adapted)

    def prior(self, replicate: int = 0) -> CatchPrior:
        """Return one replicate as a prior, to save or to search with."""
        return CatchPrior.of(
            self.space, self.settings, pick(self.arrays, [replicate]), self.learnt_from
        )


def meta_train(
    family: TaskFamily,
    space: Space,
    seeds: Sequence[int] = (0,),
    settings: CatchSettings | None = None,
    epochs: int = 25,
    queries: int = 20,
    checkpoint: Path | None = None,
    dtype: torch.dtype = torch.float32,
) -> MetaTrained:
    """Train one replicate a seed on `epochs` tasks of `family`, `queries` networks each.

    The published size is 25 x 20. `settings.horizon` is of the searches to come; here it is
    `queries`. `checkpoint` names a folder that is written after every task;
    if it holds one of the same seeds, settings and family, training goes on from there and gives
    the same result as without the interruption. A task that was interrupted begins anew: a
    `Recorded` family answers what it has measured of it. Raises `InputError` for another's
    checkpoint, and for one of more epochs.
    """
    settings = settings or CatchSettings()
    if [c.name for c in family.space.choices] != [c.name for c in space.choices]:
        raise InputError(
            f"the family is of space {family.space.name!r}; accepted: the choices of {space.name!r}"
        )
    coding = Coding(family.space, dtype, settings.masking, settings.isomorphs)
    catcher = Catcher(seeds, coding.features, replace(settings, horizon=queries), dtype)
    record: dict[str, Any] = {
        "space": space.name,
        "seeds": list(seeds),
        "settings": asdict(settings),
        "learnt_from": {**family.describe(), "queries": queries},
    }
    begin = 0
    if checkpoint is not None and has_prior(checkpoint):
        found, arrays = read_prior(checkpoint, _KIND, _FORMAT, space)
        require_same(f"checkpoint {str(checkpoint)!r}", found, record)
        begin = int(found["epochs"])
        if begin > epochs:
            raise InputError(
                f"checkpoint {str(checkpoint)!r} has learnt from {begin} tasks, more than the "
                f"{epochs} asked for; accepted: {begin} or more, or another folder"
            )
        catcher.load(arrays)
    for epoch in range(begin, epochs):
        agent = Agent(catcher, coding, seeds, settings.epsilon, task=epoch)
        run_task(agent, family.tasks(seeds, epoch), queries)
        if checkpoint is not None:
            done = {**record, "epochs": epoch + 1}
            write_prior(checkpoint, _KIND, _FORMAT, done, catcher.arrays())
    learnt_from = {**record["learnt_from"], "epochs": epochs}
    return MetaTrained(space, family.space, settings, catcher.arrays(), learnt_from, dtype)
