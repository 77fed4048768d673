"""P-DARTS: the supernet grows deeper in stages while operations are dropped.

Chen et al., "Progressive Differentiable Architecture Search: Bridging the Depth Gap Between Search
and Evaluation", ICCV 2019. Published on the DARTS space: 5, 11 and 17 cells with 8, 5 and 3
operations an edge; other spaces keep the same parts of theirs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from transnas.networks import Form
from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._indicators import skip_rows
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.oneshot.darts import Bilevel
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["PDARTS", "PDARTSSettings", "skip_dropout"]

_STAGES = 3
_PARTS = (1.0, 5 / 8, 3 / 8)
"""Share of the operations that each stage has."""
_DEPTHS = {"layers": 1, "cells": 3}
"""What skeletons call their depth, and how often the network repeats that many cells.

Networks of other spaces are of one depth.
"""


@dataclass(frozen=True)
class PDARTSSettings(Settings):
    """As published on CIFAR-10; 25 epochs a stage."""

    epochs: int = 75
    batch_size: int = 96
    least_learning_rate: float = 0.0
    logits_learning_rate: float = 6e-4
    logits_from: int = 10
    """Epochs of each stage in which the logits rest; all but the last one of shorter stages."""
    deeper: int = 6
    """Cells added from stage to stage."""
    first_dropout: float = 0.0
    second_dropout: float = 0.4
    third_dropout: float = 0.7
    """Dropout on skip connections at the start of each stage."""
    skips: int = 2
    """Most skip connections of the derived (normal) cell."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "epochs", least=_STAGES)
        check_range(self, "deeper", "skips", least=0)
        check_range(self, "first_dropout", "second_dropout", "third_dropout", least=0, below=1)

    @property
    def warm_up(self) -> int:
        """See `Settings.warm_up`; that of each stage."""
        return min(self.logits_from, self.epochs // _STAGES - 1)


@register("p-darts")
class PDARTS(Bilevel):
    """Derives the strongest operations of the last stage, with a limited number of skips."""

    Settings = PDARTSSettings

    def begin(self) -> None:
        """Begin with the shallow supernet of all operations."""
        self.stage = 0
        self.allowed: tuple[tuple[int, ...], ...] | None = None
        super().begin()
        built = self.net.skeleton
        self.depths = {key: built[key] for key in _DEPTHS if key in built}

    def build_stage(self) -> None:
        """Install the present stage's supernet, with new weights and logits."""
        added = self.stage * self.settings.deeper
        deeper = {key: cells + added // _DEPTHS[key] for key, cells in self.depths.items()}
        self.install(self.supernet(**deeper))

    def relaxation(self) -> Relaxation:
        """See `Softmax`."""
        return Softmax()

    def form(self) -> Form:
        """Return mixed edges of the operations that are left."""
        return Form(allowed=self.allowed)

    # Epochs of a stage ------------------------------------------------------------------------

    def before(self, stage: int) -> int:
        """Return the epochs before `stage`; stages differ in length by one epoch at most."""
        return stage * int(self.settings.epochs) // _STAGES

    @property
    def stage_epochs(self) -> int:
        """Epochs of the present stage."""
        return self.before(self.stage + 1) - self.before(self.stage)

    @property
    def epoch_of_stage(self) -> int:
        """Epochs of this stage that are done."""
        return self.epoch - self.before(self.stage)

    def rests(self) -> bool:
        """Return whether the logits still rest in this stage."""
        return bool(self.epoch_of_stage < self.settings.warm_up)

    def rate(self) -> float:
        """Return the learning rate, which falls anew in each stage."""
        done = (self.epoch_of_stage + self.step_of_epoch / len(self.training)) / self.stage_epochs
        return float(self.settings.rate(min(1.0, done)))

    def begin_epoch(self) -> None:
        """Begin a stage if this is its first epoch; set the dropout of skip connections.

        Not at the end of the epoch before, whose record is of the stage that ends.
        """
        if self.epoch >= self.before(self.stage + 1):
            self.stage += 1
            self.allowed = self.strongest(_PARTS[self.stage])
            self.build_stage()
        s = self.settings
        first = (s.first_dropout, s.second_dropout, s.third_dropout)[self.stage]
        rate = skip_dropout(first, self.epoch_of_stage, s.warm_up, self.stage_epochs)
        self.net.drop(skip=rate)

    def strongest(self, part: float) -> tuple[tuple[int, ...], ...]:
        """Return the codes of the operations of largest share on each edge, that part of all.

        One that may be derived stays, so that no edge is left with `none` alone.
        """
        shares = self.net.shares().tolist()
        keep = max(1, round(part * len(shares[0])))

        def kept(row: int) -> tuple[int, ...]:
            order = sorted(self.net.allowed[row], key=lambda code: -shares[row][code])
            best = next(code for code in order if code in self.net.selectable(row))
            others = [code for code in order if code != best]
            return tuple(sorted([best, *others[: keep - 1]]))

        return tuple(kept(row) for row in range(len(shares)))

    # Derivation -------------------------------------------------------------------------------

    def present(self) -> Architecture:
        """Return the strongest architecture with at most `skips` skip connections.

        While there are more, the weakest one is given share 0 and the cell is derived again. Where
        edges have nothing else left, more may stay.
        """
        shares = self.net.shares().masked_fill(self.net.missing.cpu(), -1.0)
        while True:
            arch = self.net.discretise(shares)
            skips = list(skip_rows(self.net, arch).items())
            given = [skip for skip in skips if shares[skip] > 0.0]
            if len(skips) <= self.settings.skips or not given:
                return arch
            shares[min(given, key=lambda skip: float(shares[skip]))] = 0.0

    def state(self) -> dict[str, Any]:
        """See `OneShot.state`."""
        return {**super().state(), "stage": self.stage, "allowed": self.allowed}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `OneShot.restore`."""
        self.stage, self.allowed = state["stage"], state["allowed"]
        self.build_stage()
        super().restore(state)


def skip_dropout(first: float, epoch: int, rests: int, epochs: int) -> float:
    """Return the dropout of skip connections in `epoch` (from 0) of a stage of `epochs`.

    It falls linearly while the logits rest, and exponentially from `first` on afterwards.
    """
    if epoch < rests:
        return first * (epochs - epoch - 1) / epochs
    return first * math.exp(-0.2 * (epoch - rests))
