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

from transnas._errors import InputError
from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._base import Batch, OneShot
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings, require_steady_logits
from transnas.spaces import Architecture
from transnas.strategies._lstm_policy import (
    Codes,
    LSTMPolicy,
    bits,
    chosen_log_policy,
    entropies,
)
from transnas.strategies.settings import check_range

__all__ = ["ENAS", "ENASSettings", "skip_divergence"]

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
    skip_weight: float = 0.0
    """Weight of the divergence of skips from `skip_target` in the controller's loss, for spaces
    with skips to choose; published on the macro space: 0.8."""
    skip_target: float = 0.4
    """Probability of a skip that it draws to."""
    candidates: int = 100
    """Samples of the final policy of which the best is derived."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "hidden", "controller_steps", "rewards", "candidates", least=1)
        check_range(self, "controller_learning_rate", "entropy", least=0)
        check_range(self, "baseline_decay", least=0, below=1)
        check_range(self, "skip_weight", least=0)
        check_range(self, "skip_target", above=0, below=1)
        require_steady_logits(self)


@register("enas")
class ENAS(OneShot):
    """Derives the best of samples from the final policy, with the shared weights."""

    Settings = ENASSettings

    def begin(self) -> None:
        """Also build the controller."""
        self.skips = bits(self.space)
        if self.settings.skip_weight > 0.0 and not self.skips:
            raise InputError(
                f"setting 'skip_weight' is {self.settings.skip_weight!r} on space "
                f"{self.space.name!r}, which has no skips to choose; accepted: 0"
            )
        super().begin()
        self.controller = LSTMPolicy(
            self.space,
            hidden=self.settings.hidden,
            layers=1,
            reach=0.1,
            temperature=5.0,
            squash=2.5,
            seed=self.seed,
        ).to(self.at.device)
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
            archs, _, _ = self.draw(1, self.generator("policy"))
        self.weights_step(batch, self.net.path(archs[0]))

    def end_epoch(self) -> None:
        """Move the policy by REINFORCE on rewards from validation batches."""
        s = self.settings
        for _ in range(s.controller_steps):
            archs, codes, log_policy = self.draw(s.rewards, self.generator("policy"))
            spread = entropies(log_policy.detach()).sum(dim=1).tolist()
            advantages = []
            for arch, entropy in zip(archs, spread, strict=True):
                accuracy = self.accuracy(arch, iter([self.held_out.next()]))
                self.log("supernet_accuracy", accuracy)
                advantages.append(self.advantage(accuracy + s.entropy * entropy))
            log_p = chosen_log_policy(log_policy, codes).sum(dim=1)
            self.by_controller.zero_grad(set_to_none=True)
            loss = -(log_p * log_p.new_tensor(advantages)).mean()
            if s.skip_weight > 0.0:
                apart = skip_divergence(log_policy[:, self.skips], s.skip_target)
                loss = loss + s.skip_weight * apart
            torch.autograd.backward(loss)
            self.by_controller.step()

    def draw(
        self, count: int, generator: torch.Generator
    ) -> tuple[list[Architecture], Codes, Tensor]:
        """Return samples of the policy, their codes [count, T] and log pi [count, T, V]."""
        shape = (count, len(self.space.choices))
        uniform = torch.rand(shape, generator=generator, dtype=torch.float64, device=self.at.device)
        codes, log_policy = self.controller.sample(uniform.cpu().numpy())
        archs = [Architecture(self.space.name, tuple(row)) for row in codes.tolist()]
        return archs, codes, log_policy

    def advantage(self, reward: float) -> float:
        """Return what a reward exceeds the moving average by, and take it into that."""
        if self.baseline is None:
            self.baseline = reward
        decay: float = self.settings.baseline_decay
        self.baseline -= (1 - decay) * (self.baseline - reward)
        return reward - self.baseline

    def present(self) -> Architecture:
        """Return the architecture of the most likely choices."""
        return Architecture(self.space.name, tuple(self.controller.most_likely().tolist()))

    def derive(self) -> Architecture:
        """Return the sample that does best on one validation batch."""
        with torch.no_grad():
            drawn, _, _ = self.draw(self.settings.candidates, self.generator("derivation"))
        archs: list[Architecture] = list(dict.fromkeys([self.present(), *drawn]))
        batch = list(islice(self.checks(), 1))
        scores = [self.accuracy(arch, iter(batch)) for arch in archs]
        return archs[scores.index(max(scores))]

    def shares(self) -> Tensor | None:
        """Return the mean probabilities of the choices' values over samples, [choices, values]."""
        if len({len(choice.values) for choice in self.space.choices}) > 1:
            return None  # choices of different kinds do not fit into one matrix
        noise = torch.Generator(self.at.device).manual_seed(self.epoch)
        with torch.no_grad():
            _, _, log_policy = self.draw(_LOOKED_AT, noise)
        return log_policy.exp().mean(dim=0).cpu()

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


def skip_divergence(log_policy: Tensor, target: float) -> Tensor:
    """Return the mean of KL(p || (1 - target, target)) over the log-probabilities [B, bits, V].

    The two values of a bit come first; what else there is, is padding.
    """
    log_p = log_policy[..., :2]
    wanted = log_p.new_tensor([1.0 - target, target]).log()
    return (log_p.exp() * (log_p - wanted)).sum(dim=-1).mean()
