"""DARTS+: first-order DARTS that stops before skip connections take over.

Liang et al., "DARTS+: Improved Differentiable Architecture Search with Early Stopping", 2019.
Deviation: no stop before epoch `earliest`, since the first logits are noise, and so are the skips
among what they derive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from transnas._errors import InputError
from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._indicators import is_parametric, operations, skip_rows
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.oneshot.darts import Bilevel
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["DARTSPlus", "DARTSPlusSettings"]


@dataclass(frozen=True)
class DARTSPlusSettings(Settings):
    """As DARTS, with the stop rules of the paper."""

    criterion: Literal["skips", "ranking"] = "skips"
    """Stop when the (normal) cell has `skips` of them, or when the ranking has settled."""
    skips: int = 2
    patience: int = 10
    """Epochs in which the strongest operations with weights must stay the same."""
    earliest: int = 10
    """Epochs before the first stop; there is none while the logits rest."""
    stop_before: bool = False
    """Derive from the epoch before the stop."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "skips", "patience", least=1)
        check_range(self, "earliest", least=0)


@register("darts-plus")
class DARTSPlus(Bilevel):
    """Derives from the epoch at which the rule stops the search."""

    Settings = DARTSPlusSettings

    def begin(self) -> None:
        """Also begin a record of what each epoch would derive."""
        super().begin()
        self.parametric: list[list[int]] = [[] for _ in self.net.allowed]
        for row, code, operation in operations(self.net):
            self.parametric[row] += [code] if is_parametric(operation) else []
        if self.settings.criterion == "ranking" and not any(self.parametric):
            raise InputError(
                f"criterion is 'ranking', but no operation of space {self.space.name!r} has "
                "weights of its own; accepted: skips"
            )
        self.before: Architecture | None = None
        self.ranking: list[int] = []
        self.settled = 0

    def relaxation(self) -> Relaxation:
        """See `Softmax`."""
        return Softmax()

    def end_epoch(self) -> None:
        """Stop if the rule says so, once the logits have begun to learn."""
        super().end_epoch()
        if self.rests():
            return
        s, arch, ranking = self.settings, self.net.derive(), self.rank()
        self.settled = self.settled + 1 if ranking == self.ranking else 0
        self.ranking = ranking
        if s.criterion == "skips":
            ripe = len(skip_rows(self.net, arch)) >= s.skips
        else:
            ripe = self.settled >= s.patience
        self.stopped = ripe and self.epoch + 1 >= s.earliest
        if not self.stopped:
            self.before = arch

    def rank(self) -> list[int]:
        """Return the strongest operation with weights of each edge; -1 where there is none."""
        rows = zip(self.net.shares().tolist(), self.parametric, strict=True)
        return [max(codes, key=shares.__getitem__, default=-1) for shares, codes in rows]

    def present(self) -> Architecture:
        """Return what the present epoch, or the one before the stop, derives."""
        if self.stopped and self.settings.stop_before and self.before is not None:
            return self.before
        return self.net.derive()

    def state(self) -> dict[str, Any]:
        """See `OneShot.state`."""
        before = None if self.before is None else self.space.to_json(self.before)
        rule = {"before": before, "ranking": self.ranking, "settled": self.settled}
        return {**super().state(), "rule": rule}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `OneShot.restore`."""
        super().restore(state)
        rule = state["rule"]
        text = rule["before"]
        self.before = None if text is None else self.space.from_json(text)
        self.ranking, self.settled = rule["ranking"], rule["settled"]
