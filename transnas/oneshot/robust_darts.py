"""RobustDARTS: watch the curvature of the validation loss, and stop or regularise when it rises.

Zela et al., "Understanding and Robustifying Differentiable Architecture Search", ICLR 2020. The
dominant eigenvalue of the Hessian of the validation loss in the logits goes with cells that
generalise badly. DARTS-ES: `response=stop`. DARTS-ADA: `response=adapt`. R-DARTS(L2) and (DP): a
larger `weight_decay` or `drop_path`, searched several times, the best by validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch

from transnas.networks import Form
from transnas.networks.relaxations import Relaxation, Softmax
from transnas.oneshot._hessian import dominant_eigenvalue, hessian_product
from transnas.oneshot._registry import register
from transnas.oneshot.darts import DARTSSettings, SecondOrder
from transnas.spaces import Architecture
from transnas.strategies.settings import check_range

__all__ = ["RobustDARTS", "RobustDARTSSettings", "rises"]

_WINDOW = 5
_KEPT = ("net", "by_weights", "by_logits")


@dataclass(frozen=True)
class RobustDARTSSettings(DARTSSettings):
    """As published; second order like the paper's searches."""

    order: int = 2
    selection: Literal["strength"] = "strength"
    """By perturbation would need the supernet of the epoch that is derived from."""
    response: Literal["stop", "adapt", "none"] = "stop"
    """What a rise of the eigenvalue leads to: the end, or a larger decay and a step back."""
    every: int = 2
    """Epochs from one eigenvalue to the next."""
    delta: int = 4
    """Eigenvalues between the two windows that are compared."""
    rise: float = 1.3
    """Ratio of the windows' means from which the rule acts."""
    earliest: int = 10
    """Epochs before the rule first acts; it never does while the logits rest."""
    decay_factor: float = 3.0
    decay_limit: float = 0.0243
    """`adapt` multiplies the weights' decay by the factor, up to the limit."""
    drop_path: float = 0.0
    """Probability of dropping an operation in the last epoch; rises linearly from 0."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "every", "delta", least=1)
        check_range(self, "earliest", least=0)
        check_range(self, "rise", "decay_factor", least=1)
        check_range(self, "decay_limit", least=0)
        check_range(self, "drop_path", least=0, below=1)


@register("robust-darts")
class RobustDARTS(SecondOrder):
    """Derives from the epoch before the rise, or from the last one."""

    Settings = RobustDARTSSettings

    def begin(self) -> None:
        """Also begin the record of eigenvalues."""
        super().begin()
        self.eigenvalues: list[float] = []
        self.measured: list[str] = []
        """What each epoch with an eigenvalue derives, as JSON text."""
        self.kept: list[dict[str, Any]] = []
        """The states to step back to, one an eigenvalue, the latest `delta` + 1."""
        self.chosen: Architecture | None = None

    def form(self) -> Form:
        """Return edges that have the second derivatives of which the eigenvalue is."""
        return Form(backend="torch")

    def relaxation(self) -> Relaxation:
        """See `Softmax`."""
        return Softmax()

    def begin_epoch(self) -> None:
        """Raise the rate of dropping."""
        self.net.drop(path=self.settings.drop_path * self.epochs_done)

    def end_epoch(self) -> None:
        """Measure the eigenvalue when it is due, and act on its rise."""
        super().end_epoch()
        s = self.settings
        if (self.epoch + 1) % s.every:
            return
        self.eigenvalues.append(self.eigenvalue())
        self.measured.append(self.space.to_json(self.net.derive()))
        self.log("eigenvalue", self.eigenvalues[-1])
        if s.response == "adapt":
            self.keep()
        learnt = not self.rests() and self.epoch + 1 > s.earliest
        if learnt and rises(self.eigenvalues, s.delta, s.rise):
            self.respond()

    def eigenvalue(self) -> float:
        """Return the dominant eigenvalue on one batch of validation data, always the same."""
        batch = next(self.checks())
        with self.net.undropped():
            loss, _ = self.loss(batch)
        start = torch.ones(self.net.logits.numel(), device=self.at.device)
        noise = torch.Generator(self.at.device).manual_seed(self.seed)
        start.normal_(generator=noise)
        return dominant_eigenvalue(hessian_product(loss, self.net.logits), start)

    def respond(self) -> None:
        """Stop at the epoch before the rise, or go back to it with a larger decay."""
        s = self.settings
        if s.response == "stop":
            self.stopped = True
            self.chosen = self.space.from_json(self.measured[-s.delta - 1])
        decay = self.by_weights.param_groups[0]["weight_decay"] * s.decay_factor
        if s.response == "adapt" and decay <= s.decay_limit * (1 + 1e-9):
            self.step_back(decay)

    def keep(self) -> None:
        """Remember the present state."""
        state = {key: _copied(value) for key, value in self.state().items() if key in _KEPT}
        self.kept = [*self.kept, {"epoch": self.epoch, **state}][-self.settings.delta - 1 :]

    def step_back(self, decay: float) -> None:
        """Go back to the state before the rise, and on with `decay` of the weights."""
        state = self.kept[0]
        self.epoch = state["epoch"]
        self.net.load_state_dict(state["net"])
        self.by_weights.load_state_dict(state["by_weights"])
        self.by_logits.load_state_dict(state["by_logits"])
        for group in self.by_weights.param_groups:
            group["weight_decay"] = decay
        left = len(self.eigenvalues) - (len(self.kept) - 1)
        del self.eigenvalues[left:], self.measured[left:]
        self.kept = []
        self.keep()

    def present(self) -> Architecture:
        """Return the architecture from before the rise, if there was one."""
        return self.net.derive() if self.chosen is None else self.chosen

    def state(self) -> dict[str, Any]:
        """See `OneShot.state`."""
        chosen = None if self.chosen is None else self.space.to_json(self.chosen)
        rule = {"eigenvalues": self.eigenvalues, "measured": self.measured, "chosen": chosen}
        return {**super().state(), "rule": rule, "kept": self.kept}

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `OneShot.restore`."""
        super().restore(state)
        rule, text = state["rule"], state["rule"]["chosen"]
        self.eigenvalues, self.measured = list(rule["eigenvalues"]), list(rule["measured"])
        self.chosen = None if text is None else self.space.from_json(text)
        self.kept = list(state["kept"])


def rises(eigenvalues: Sequence[float], delta: int, ratio: float) -> bool:
    """Return whether the latest window's mean is `ratio` times that of `delta` values before."""
    if len(eigenvalues) <= delta:
        return False

    def mean(end: int) -> float:
        window = eigenvalues[max(0, end - _WINDOW) : end]
        return sum(window) / len(window)

    before, now = mean(len(eigenvalues) - delta), mean(len(eigenvalues))
    return now > ratio * before > 0


def _copied(value: Any) -> Any:
    """Return nested plain data with tensors of their own."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_copied(item) for item in value)
    return value
