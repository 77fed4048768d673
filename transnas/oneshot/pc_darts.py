"""PC-DARTS: mixed edges see a part of the channels, and edges have shares of their own.

Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR
2020.
"""

from __future__ import annotations

from dataclasses import dataclass

from transnas.networks import Form
from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.oneshot.darts import Bilevel
from transnas.strategies.settings import check_range

__all__ = ["PCDARTS", "PCDARTSSettings"]


@dataclass(frozen=True)
class PCDARTSSettings(Settings):
    """As published on CIFAR-10."""

    batch_size: int = 256
    learning_rate: float = 0.1
    least_learning_rate: float = 0.0
    logits_learning_rate: float = 6e-4
    logits_from: int = 15
    partial: int = 4
    """K: one channel in K goes through the mixed edges."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "partial", least=1)


@register("pc-darts")
class PCDARTS(Bilevel):
    """Derives what is strongest by the product of the operation's and the edge's share."""

    Settings = PCDARTSSettings

    def relaxation(self) -> Relaxation:
        """See `Softmax`."""
        return Softmax()

    def form(self) -> Form:
        """Return partial channels with edge normalisation."""
        return Form(partial=self.settings.partial, normalise_edges=True)
