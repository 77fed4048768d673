"""Search by a recurrent controller and REINFORCE: the method that began the field."""

from __future__ import annotations

from dataclasses import dataclass

from transnas.strategies._controller import ControllerSettings, RecurrentController
from transnas.strategies._registry import register

__all__ = ["ZophLe", "ZophLeSettings"]


@dataclass(frozen=True)
class ZophLeSettings(ControllerSettings):
    """Settings of Zoph & Le; theirs differ in learning rate (0.0006), power (3) and entropy (0)."""


@register("zoph-le")
class ZophLe(RecurrentController):
    """A two-layer LSTM writes the architecture and learns by REINFORCE with a baseline.

    Source: Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017. Skip
    connections are chosen by attention over anchor points, see `LSTMPolicy`; delayed results are
    corrected by ratios, see `RecurrentController`. Deviations: the learning rate suits hundreds of
    trials (published: 0.0006 for 12,800 networks), rewards are taken as they are (published: the
    cube of the best accuracy of the last five epochs, here `power=3`), and there is an entropy
    bonus (published: none, here `entropy=0`).
    """

    Settings = ZophLeSettings
