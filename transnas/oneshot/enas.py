"""ENAS: a recurrent controller draws paths of a shared child, and learns from how well they do.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018; defaults as
on NAS-Bench-201 (Dong & Yang, ICLR 2020), with one LSTM layer of 64 units as in the release.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._base import Batch, Sampled
from transnas.oneshot._controller import Controller, Sample
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings, require
from transnas.spaces import Architecture

__all__ = ["ENAS", "ENASSettings"]

_LOOKED_AT = 16
"""Samples over which the shares of operations are averaged."""


@dataclass(frozen=True)
class ENASSettings(Settings):
    """As published on NAS-Bench-201."""

    epochs: int = 250
    batch_size: int = 128
    learning_rate: float = 0.05
    least_learning_rate: float = 0.0005
    nesterov: bool = True
    weight_decay: float = 2.5e-4
    hidden: int = 64
    """Units of the controller's LSTM."""
    controller_learning_rate: float = 0.001
    """Of the controller (Adam, betas 0 and 0.999, epsilon 1e-3)."""
    controller_steps: int = 50
    """Steps of the controller after each epoch."""
    rewards: int = 20
    """Architectures rewarded for each of these steps."""
    baseline_decay: float = 0.99
    entropy: float = 1e-4
    """Weight of the policy's entropy in the reward."""
    candidates: int = 100
    """Samples of the final policy of which the best is derived."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, ("hidden", "controller_steps", "rewards", "candidates"), 1)
        require(self, ("controller_learning_rate", "entropy"), 0.0)
        require(self, ("baseline_decay",), 0.0, 1.0)


@register("enas")
class ENAS(Sampled):
    """Derives the best of samples from the final policy, with the shared weights."""

    Settings = ENASSettings

    def begin(self) -> None:
        """Also build the controller."""
        super().begin()
        self.controller = Controller(self.space, self.settings.hidden).to(self.at.device)
        self.by_controller = torch.optim.Adam(
            self.controller.parameters(),
            lr=self.settings.controller_learning_rate,
            betas=(0.0, 0.999),
            eps=1e-3,
        )
        self.baseline: float | None = None

    def relaxation(self) -> Relaxation:
        """Return any: every step names its path."""
        return Softmax()

    def train_step(self, batch: Batch) -> None:
        """Move the weights of one architecture of the policy (M = 1)."""
        with torch.no_grad():
            arch = self.controller(self.generator("policy")).arch
        self.weights_step(batch, self.net.path(arch))

    def end_epoch(self) -> None:
        """Move the policy by REINFORCE on rewards from validation batches."""
        s = self.settings
        for _ in range(s.controller_steps):
            loss = torch.zeros((), device=self.at.device)
            for _ in range(s.rewards):
                sample = self.controller(self.generator("policy"))
                batch = self.held_out.next()
                accuracy = self.accuracy(sample.arch, iter([batch]))
                self.log("supernet_accuracy", accuracy)
                reward = accuracy + s.entropy * sample.entropy.item()
                loss = loss - sample.log_probability * self.advantage(reward)
            self.by_controller.zero_grad(set_to_none=True)
            (loss / s.rewards).backward()
            self.by_controller.step()

    def advantage(self, reward: float) -> float:
        """Return what a reward exceeds the moving average by, and take it into that."""
        if self.baseline is None:
            self.baseline = reward
        decay: float = self.settings.baseline_decay
        self.baseline -= (1 - decay) * (self.baseline - reward)
        return reward - self.baseline

    def present(self) -> Architecture:
        """Return the architecture of the most likely choices."""
        with torch.no_grad():
            sample: Sample = self.controller()
        return sample.arch

    def derive(self) -> Architecture:
        """Return the sample that does best on one validation batch."""
        with torch.no_grad():
            noise, count = self.generator("derivation"), self.settings.candidates
            drawn = [self.controller(noise).arch for _ in range(count)]
        archs: list[Architecture] = list(dict.fromkeys([self.present(), *drawn]))
        batch = list(islice(self.checks.epoch(), 1))
        scores = [self.accuracy(arch, iter(batch)) for arch in archs]
        return archs[scores.index(max(scores))]

    def shares(self) -> Tensor | None:
        """Return the mean probabilities of the choices' values over samples, [choices, values]."""
        noise = torch.Generator(self.at.device).manual_seed(self.epoch)
        with torch.no_grad():
            seen = [self.controller(noise).probabilities for _ in range(_LOOKED_AT)]
        means = [torch.stack(rows).mean(0) for rows in zip(*seen, strict=True)]
        if len({len(row) for row in means}) > 1:
            return None  # choices of different kinds do not fit into one matrix
        return torch.stack(means).cpu()

    def state(self) -> dict[str, Any]:
        """See `OneShot.state`."""
        return {
            **super().state(),
            "controller": dict(self.controller.state_dict()),
            "by_controller": self.by_controller.state_dict(),
            "baseline": self.baseline,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `OneShot.restore`."""
        super().restore(state)
        self.controller.load_state_dict(state["controller"])
        self.by_controller.load_state_dict(state["by_controller"])
        self.baseline = state["baseline"]
