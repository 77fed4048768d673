"""GDAS: one sampled operation an edge, its probability learnt through a straight-through gradient.

Dong & Yang, "Searching for A Robust Neural Architecture in Four GPU Hours", CVPR 2019; defaults as
on NAS-Bench-201 (ICLR 2020). Logits and weights each draw a sample of their own. The gradient of a
logit is that of its own operation's term alone (the variant `v1` of the published code).
"""

from __future__ import annotations

from dataclasses import dataclass

from transnas.networks.relaxations import Relaxation, StraightThrough
from transnas.oneshot._base import linear
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.oneshot.darts import Bilevel
from transnas.strategies.settings import check_range

__all__ = ["GDAS", "GDASSettings"]


@dataclass(frozen=True)
class GDASSettings(Settings):
    """As published on NAS-Bench-201."""

    epochs: int = 250
    nesterov: bool = True
    weight_decay: float = 5e-4
    first_temperature: float = 10.0
    last_temperature: float = 0.1
    """The temperature falls linearly from epoch to epoch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "first_temperature", "last_temperature", least=1e-6)


@register("gdas")
class GDAS(Bilevel):
    """Derives the most probable operations."""

    Settings = GDASSettings

    def relaxation(self) -> Relaxation:
        """See `StraightThrough`."""
        self.sampler = StraightThrough(
            self.settings.first_temperature, self.generator("architecture noise")
        )
        return self.sampler

    def begin_epoch(self) -> None:
        """Cool down."""
        s = self.settings
        self.sampler.temperature = linear(s.first_temperature, s.last_temperature, self.epochs_done)
