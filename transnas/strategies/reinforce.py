"""REINFORCE on masked categorical choices, without a recurrent network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas.evaluation import Measurement
from transnas.spaces import Architecture, Space
from transnas.strategies._base import Strategy, require_categorical
from transnas.strategies._registry import register
from transnas.strategies._replicates import register_replicated
from transnas.strategies._stream import Stream, draw_uniform, keys
from transnas.strategies.settings import check_range

__all__ = ["Policies", "Reinforce", "ReinforceSettings"]

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Masks = npt.NDArray[np.bool_]

_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True)
class ReinforceSettings:
    """Settings of REINFORCE; defaults of NATS-Bench (NAS-Bench-201: learning rate 0.001)."""

    learning_rate: float = 0.01
    """Step of Adam (betas 0.9 and 0.999, epsilon 1e-8)."""
    momentum: float = 0.9
    """Of the moving-average baseline."""
    entropy: float = 0.0
    """Weight of the entropy bonus, in units of the typical size of the advantage."""

    def __post_init__(self) -> None:
        check_range(self, "learning_rate", above=0)
        check_range(self, "momentum", least=0, below=1)
        check_range(self, "entropy", least=0)


@register("reinforce")
class Reinforce(Strategy):
    """A policy pi(a) = prod_d softmax(theta_d + mask)(a_d), trained by its score function.

    For each told reward R: theta += Adam((R - b) grad log pi(a) + beta s grad H), with b the
    bias-corrected moving average of the rewards, R included (as in the source: the average is
    updated before it is subtracted), s the same average of |R - b|, H the entropy of the
    choices given their prefixes. theta starts at 1e-3 N(0, 1).

    Scale: Adam's step does not depend on the size of R - b, and s carries that size into the
    entropy term, so percent, fractions and negative losses need no other settings. Failed
    measurements are skipped. What is told late, or was never asked for, is learnt from under the
    present policy, without importance weights. Repeats are allowed, as in the source.

    Source: Williams, "Simple statistical gradient-following algorithms", 1992; settings of Dong
    et al., NATS-Bench, TPAMI 2021. Takes spaces without number ranges.
    """

    Settings = ReinforceSettings

    def _begin(self) -> None:
        self._policy = Policies(self.space, [self.stream], self.settings)

    def ask(self) -> Architecture:
        draws = np.array([[self.stream.uniform() for _ in self.space.choices]])
        return Architecture(self.space.name, tuple(self._policy.sample(draws)[0].tolist()))

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        reward = self.objective.reward(measurement)
        if not isnan(reward):
            self._policy.learn(np.array([arch.values]), np.array([reward]))

    def state(self) -> dict[str, Any]:
        arrays = {name: getattr(self._policy, name).tolist() for name in Policies.LEARNT}
        return {"stream": self.stream.position, **arrays}

    def restore(self, state: dict[str, Any]) -> None:
        self.stream.position = state["stream"]
        for name in Policies.LEARNT:
            setattr(self._policy, name, np.array(state[name], dtype=np.float64))


class Policies:
    """R independent policies over one space as arrays: theta is [R, choices, values].

    Choices with fewer values than the longest are padded with values that are masked.
    """

    LEARNT = ("theta", "first", "second", "steps", "baseline", "advantage")

    def __init__(self, space: Space, streams: Sequence[Stream], settings: Any) -> None:
        require_categorical(space, "strategy 'reinforce'")
        self.space = space
        self.settings = settings
        self._free = type(space).mask is Space.mask
        counts = [len(c.values) for c in space.choices]
        self._real: Masks = np.arange(max(counts)) < np.array(counts)[:, None]
        self.theta: Floats = np.empty((len(streams), *self._real.shape))
        for theta, stream in zip(self.theta, streams, strict=True):
            theta[:] = 1e-3 * stream.generator().standard_normal(theta.shape)
        self.first: Floats = np.zeros_like(self.theta)
        self.second: Floats = np.zeros_like(self.theta)
        self.steps: Floats = np.zeros(len(streams))
        self.baseline: Floats = np.zeros(len(streams))
        self.advantage: Floats = np.zeros(len(streams))

    def sample(self, draws: Floats) -> Codes:
        """Return one valid code sequence a policy, by inverting the cumulative probabilities.

        `draws` [R, choices] are uniform in [0, 1); the result has the same shape.
        """
        codes: Codes = np.zeros(draws.shape, dtype=np.int64)
        for d in range(draws.shape[1]):
            total = np.cumsum(softmax(self.theta[:, d], self._mask(d, codes)), axis=-1)
            # A masked value adds nothing to the sum, so that no draw falls on it.
            codes[:, d] = (total <= draws[:, d : d + 1] * total[:, -1:]).sum(axis=-1)
        return codes

    def learn(self, codes: Codes, rewards: Floats) -> None:
        """Take one Adam step a policy on its own sample.

        `codes` [R, choices]; `rewards` [R], NaN where a policy is to stay as it is.
        """
        told = ~np.isnan(rewards)
        rewards = np.where(told, rewards, self.baseline)
        m, before, after = self.settings.momentum, self.steps, self.steps + 1
        self.baseline = _averaged(self.baseline, rewards, m, before, told)
        gain = rewards - self.baseline
        self.advantage = _averaged(self.advantage, np.abs(gain), m, before, told)
        bonus = self.settings.entropy * self.advantage
        gradient = self.gradient(codes, gain, bonus)
        kept = told[:, None, None]
        self.first = np.where(kept, _BETA1 * self.first + (1 - _BETA1) * gradient, self.first)
        squared = _BETA2 * self.second + (1 - _BETA2) * gradient**2
        self.second = np.where(kept, squared, self.second)
        t = after[:, None, None]
        size = np.sqrt(self.second / (1 - _BETA2**t)) + _EPSILON
        step = self.settings.learning_rate * (self.first / (1 - _BETA1**t)) / size
        self.theta = np.where(kept, self.theta + step, self.theta)
        self.steps = np.where(told, after, before)

    def gradient(self, codes: Codes, gain: Floats, bonus: Floats) -> Floats:
        """Return gain grad log pi(codes) + bonus grad H, [R, choices, values]."""
        masks = np.stack([self._mask(d, codes) for d in range(codes.shape[1])], axis=1)
        p = softmax(self.theta, masks)
        chosen = np.arange(p.shape[-1]) == codes[:, :, None]
        score: Floats = gain[:, None, None] * (chosen - p)
        if not bonus.any():
            return score
        # Where p is 0, so is p log p.
        log_p = np.log(np.where(p > 0, p, 1.0))
        entropy = -(p * log_p).sum(axis=-1, keepdims=True)
        score -= bonus[:, None, None] * p * (log_p + entropy)
        return score

    def _mask(self, d: int, codes: Codes) -> Masks:
        """Return which values of choice `d` may follow the first d codes of each row, [R, V]."""
        masks: Masks = np.broadcast_to(self._real[d], (len(codes), self._real.shape[1]))
        if self._free:
            return masks
        masks, count = masks.copy(), len(self.space.choices[d].values)
        for row, prefix in zip(masks, codes[:, :d].tolist(), strict=True):
            row[:count] = self.space.mask(tuple(prefix))
        return masks


def softmax(theta: Floats, mask: Masks) -> Floats:
    """Return softmax over the last axis, exactly 0 where `mask` is False."""
    shown = np.where(mask, theta, -np.inf)
    weights: Floats = np.exp(shown - shown.max(axis=-1, keepdims=True))
    total: Floats = weights.sum(axis=-1, keepdims=True)
    weights /= total
    return weights


def _averaged(mean: Floats, value: Floats, momentum: float, steps: Floats, told: Masks) -> Floats:
    """Return the bias-corrected moving average after one more value (`steps` came before)."""
    weight = (1 - momentum) / (1 - momentum ** (steps + 1))
    return np.where(told, mean + weight * (value - mean), mean)


@register_replicated("reinforce")
def replicated(
    space: Space,
    rewards: npt.NDArray[np.float64],
    seeds: Sequence[int],
    queries: int,
    settings: ReinforceSettings,
) -> npt.NDArray[np.int64]:
    """REINFORCE for many seeds at once; see `Replicated`."""
    streams = [Stream(seed) for seed in seeds]
    policies = Policies(space, streams, settings)
    key, count = keys(seeds)[:, None], len(space.choices)
    index = {arch.values: i for i, arch in enumerate(space.architectures())}
    asked: Codes = np.empty((len(seeds), queries), dtype=np.int64)
    for query in range(queries):
        # The stream's first draw went into theta.
        positions = 1 + query * count + np.arange(count)
        codes = policies.sample(draw_uniform(key, positions[None, :]))
        asked[:, query] = [index[values] for values in map(tuple, codes.tolist())]
        policies.learn(codes, rewards[asked[:, query]])
    return asked
