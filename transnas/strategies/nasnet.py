"""Search by a recurrent controller and proximal policy optimisation: the method of NASNet."""

from __future__ import annotations

from dataclasses import dataclass

from transnas.strategies._controller import ControllerSettings, RecurrentController
from transnas.strategies._registry import register

__all__ = ["NASNetSearch", "NASNetSettings"]


@dataclass(frozen=True)
class NASNetSettings(ControllerSettings):
    """Settings of NASNet; theirs differ in learning rate (0.00035) and entropy (0.00001)."""

    learning_rate: float = 0.005
    """Step of Adam."""
    batch: int = 20
    """Results a step of the policy is made of."""
    hidden: int = 100
    """Units of the LSTM."""
    layers: int = 1
    """Layers of the LSTM."""
    reach: float = 0.1
    """Weights start uniform in plus and minus this."""
    entropy: float = 0.1
    """Weight of the entropy bonus, in units of the typical size of the advantage."""
    passes: int = 2
    """Steps taken on each batch of results."""


@register("nasnet")
class NASNetSearch(RecurrentController):
    """A one-layer LSTM writes the architecture and learns by PPO.

    Source: Zoph et al., "Learning Transferable Architectures for Scalable Image Recognition", CVPR
    2018, appendix A; Schulman et al., "Proximal Policy Optimization Algorithms", 2017. The paper
    names neither the clip nor the number of passes; ours are PPO's usual ones. Deviations: the
    learning rate and the entropy bonus suit hundreds of trials (published: 0.00035 and 0.00001,
    the latter not in units of the advantage, for 20,000 networks); inputs of blocks are chosen by
    attention over states and not by softmaxes of their own.
    """

    Settings = NASNetSettings
