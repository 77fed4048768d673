"""What the recurrent controllers share: proposals that remember their policy, and late answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from math import copysign, isnan
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from transnas.evaluation import Measurement
from transnas.spaces import Architecture
from transnas.strategies._arrays import pack_array, unpack_array
from transnas.strategies._base import Strategy, require_categorical
from transnas.strategies.settings import check_range

if TYPE_CHECKING:
    from transnas.strategies._learner import Learner

__all__ = ["ControllerSettings", "RecurrentController"]


@dataclass(frozen=True)
class ControllerSettings:
    """Settings that all recurrent controllers have."""

    learning_rate: float = 0.01
    """Step of Adam."""
    batch: int = 8
    """Results a step of the policy is made of."""
    hidden: int = 35
    """Units of the LSTM."""
    layers: int = 2
    """Layers of the LSTM."""
    reach: float = 0.08
    """Weights start uniform in plus and minus this."""
    momentum: float = 0.95
    """Of the moving average of earlier rewards, the baseline."""
    entropy: float = 0.1
    """Weight of the entropy bonus, in units of the typical size of the advantage."""
    power: float = 1.0
    """Rewards are raised to this power, their sign kept."""
    clip: float = 0.2
    """How far probability ratios count, on either side of 1."""
    passes: int = 1
    """Steps taken on each batch of results."""
    max_delay: int = 20
    """Results whose proposal is more than this many steps old are not learnt from."""

    def __post_init__(self) -> None:
        check_range(self, "batch", "hidden", "layers", "passes", least=1)
        check_range(self, "learning_rate", "reach", "power", "clip", above=0)
        check_range(self, "momentum", least=0, below=1)
        check_range(self, "entropy", "max_delay", least=0)


class _Proposal(NamedTuple):
    """What was asked: log pi(a_t | ..) [T] at the time of the draw, and the policy's version."""

    log_policy: npt.NDArray[np.float32]
    version: int


class RecurrentController(Strategy):
    """An LSTM policy, trained on every `batch` results by the clipped surrogate objective.

    A step of Adam maximises mean min(rho A, clip(rho, 1 - c, 1 + c) A) + beta s H with
    rho = pi(a_t | ..) / pi_old(a_t | ..) for each choice, A = R - b, b the bias-corrected moving
    average of *earlier* rewards (the first batch's own mean, for the first), s that of |R - b|,
    H the entropy of the choices given their prefixes. While the policy is the one that proposed,
    rho is 1 and the gradient is REINFORCE's, (R - b) grad log pi(a). Adam and s make the scale of
    rewards immaterial, and the bonus fades when rewards no longer differ.

    Many workers: results come late, from older versions of the policy. In the place of gradients
    sent to a parameter server, the coordinator keeps each proposal's log pi_old and version, and
    computes the gradient under the present policy; rho corrects for the delay, and results older
    than `max_delay` versions are dropped. With `max_delay` 0 this is the synchronous algorithm.

    What was never asked for is learnt from as if it were a draw of the policy at the time that it
    was told. Failed measurements are not learnt from. Repeats are allowed. Exact on one machine:
    other processors may round otherwise.
    """

    Settings = ControllerSettings

    def _begin(self) -> None:
        require_categorical(self.space, "a recurrent controller")
        self._version = 0
        self._baseline = _Average(self.settings.momentum)
        self._spread = _Average(self.settings.momentum)
        self._pending: dict[Architecture, list[_Proposal]] = {}
        self._results: list[tuple[Architecture, _Proposal, float]] = []
        self._drawn: list[tuple[Architecture, _Proposal]] = []
        self._learner_seed = self.stream.bits() >> 2

    @cached_property
    def _learner(self) -> Learner:
        from transnas.strategies._learner import Learner

        return Learner(self.space, self.settings, self._learner_seed)

    def ask(self) -> Architecture:
        if not self._drawn:
            self._draw()
        arch, proposal = self._drawn.pop(0)
        self._pending.setdefault(arch, []).append(proposal)
        return arch

    def _draw(self) -> None:
        """Draw a batch of proposals at once, which takes the policy as long as one."""
        count, choices = self.settings.batch, len(self.space.choices)
        draws = np.array([self.stream.uniform() for _ in range(count * choices)])
        codes, log_policy = self._learner.sample(draws.reshape(count, choices))
        self._drawn = [
            (Architecture(self.space.name, tuple(row)), _Proposal(log_p, self._version))
            for row, log_p in zip(codes.tolist(), log_policy, strict=True)
        ]

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        proposal = self._proposal(arch)
        reward = self.objective.reward(measurement)
        if isnan(reward) or self._version - proposal.version > self.settings.max_delay:
            return
        shaped = copysign(abs(reward) ** self.settings.power, reward)
        self._results.append((arch, proposal, shaped))
        if len(self._results) >= self.settings.batch:
            self._learn()

    def _proposal(self, arch: Architecture) -> _Proposal:
        """Return the oldest pending proposal of `arch`, or one as if it were asked for now."""
        waiting = self._pending.get(arch, [])
        if not waiting:
            log_policy = self._learner.log_policy(np.array([arch.values]))
            return _Proposal(log_policy[0], self._version)
        proposal = waiting.pop(0)
        if not waiting:
            del self._pending[arch]
        return proposal

    def _learn(self) -> None:
        rewards = np.array([reward for _, _, reward in self._results])
        gain = rewards - (self._baseline.value if self._baseline.count else rewards.mean())
        self._baseline.add(rewards)
        self._spread.add(np.abs(gain))
        bonus = self.settings.entropy * self._spread.value
        codes = np.array([arch.values for arch, _, _ in self._results])
        old = np.stack([proposal.log_policy for _, proposal, _ in self._results])
        self._learner.learn(codes, old, gain, bonus)
        self._results, self._drawn = [], []
        self._version += 1

    def state(self) -> dict[str, Any]:
        arrays = self._learner.state()
        return {
            "stream": self.stream.position,
            "version": self._version,
            "baseline": self._baseline.state(),
            "spread": self._spread.state(),
            "pending": [
                [list(arch.values), *_packed(proposal)]
                for arch, proposals in self._pending.items()
                for proposal in proposals
            ],
            "drawn": [[list(a.values), *_packed(p)] for a, p in self._drawn],
            "results": [[list(a.values), *_packed(p), r] for a, p, r in self._results],
            "arrays": {name: pack_array(array) for name, array in arrays.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        self._version = state["version"]
        self._baseline.restore(state["baseline"])
        self._spread.restore(state["spread"])
        self._pending = {}
        for values, log_policy, version in state["pending"]:
            arch = Architecture(self.space.name, tuple(values))
            self._pending.setdefault(arch, []).append(_unpacked(log_policy, version))
        self._drawn = [
            (Architecture(self.space.name, tuple(values)), _unpacked(log_policy, version))
            for values, log_policy, version in state["drawn"]
        ]
        self._results = [
            (Architecture(self.space.name, tuple(values)), _unpacked(log_policy, version), reward)
            for values, log_policy, version, reward in state["results"]
        ]
        self._learner.restore({n: unpack_array(a) for n, a in state["arrays"].items()})


def _packed(proposal: _Proposal) -> list[Any]:
    return [pack_array(proposal.log_policy), proposal.version]


def _unpacked(log_policy: list[Any], version: int) -> _Proposal:
    return _Proposal(unpack_array(log_policy), version)


class _Average:
    """A moving average, corrected for having started at 0."""

    def __init__(self, momentum: float) -> None:
        self.momentum = momentum
        self.value = 0.0
        self.count = 0

    def add(self, values: Sequence[float] | npt.NDArray[np.float64]) -> None:
        """Take in `values`, one after another."""
        for value in values:
            self.count += 1
            weight = (1 - self.momentum) / (1 - self.momentum**self.count)
            self.value += weight * (float(value) - self.value)

    def state(self) -> list[float]:
        return [self.value, self.count]

    def restore(self, state: Sequence[float]) -> None:
        self.value, self.count = state[0], int(state[1])
