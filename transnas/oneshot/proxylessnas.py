"""ProxylessNAS: binary gates, two paths for each step of the logits, and a latency in the loss.

Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR
2019. After a warm-up on uniform paths, weights are trained on paths drawn by the softmax, and every
few steps the logits on two drawn paths, whose joint probability then stays as it was: the expected
latency moves those two alone, as the loss of the network does.
Deviation: without a table of latencies, the cost is the number of the kernels' weights, or of
their multiply-adds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.evaluation.recipe import half_cosine
from transnas.networks.relaxations import Binarised, Relaxation, Sampled, Uniform, keep_mass
from transnas.oneshot._base import Batch, OneShot
from transnas.oneshot._costs import COSTS, Counted, expected_cost, table_costs
from transnas.oneshot._registry import register
from transnas.oneshot._settings import Settings
from transnas.strategies.settings import check_range

__all__ = ["ProxylessNAS", "ProxylessSettings", "drawn_shares", "penalised"]


@dataclass(frozen=True)
class ProxylessSettings(Settings):
    """As published on ImageNet."""

    epochs: int = 160
    """Warm-up included."""
    batch_size: int = 256
    warm_up_learning_rate: float = 0.05
    """Of the weights at the start of the warm-up, over which half a cosine leads it down."""
    learning_rate: float = 0.025
    """Of the weights after the warm-up."""
    least_learning_rate: float = 0.0
    nesterov: bool = True
    weight_decay: float = 4e-5
    logits_learning_rate: float = 1e-3
    logits_beta: float = 0.0
    logits_decay: float = 0.0
    logits_from: int = 40
    """Epochs of warm-up, on uniform paths; the first one after it leaves the logits alone too."""
    logits_every: int = 5
    label_smoothing: float = 0.1
    table: str = ""
    """File of a JSON object with the latency of each operation by name; empty: see `cost`."""
    cost: Counted = "parameters"
    """What costs without a table: `parameters`, or `flops` (multiply-adds of one image)."""
    reference: float = 0.0
    """Latency, or number of weights or multiply-adds of the searched operations, to stay near to;
    0: none of it in the loss."""
    penalty: Literal["add", "multiply"] = "multiply"
    """CE + weight (E - ref) / ref, or weight CE (log E / log ref)^0.3."""
    weight: float = 0.2
    """lambda of `add`, alpha of `multiply`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "warm_up_learning_rate", "reference", "weight", least=0)
        if self.penalty == "multiply" and 0.0 < self.reference <= 1.0:
            raise InputError(
                f"reference is {self.reference!r}, whose logarithm is to divide; accepted with "
                "penalty 'multiply': 0, or above 1 in the unit of the table"
            )
        if self.cost != "parameters" and (self.table or self.reference == 0.0):
            given = f"table {self.table!r}" if self.table else "reference 0"
            raise InputError(
                f"setting 'cost' is {self.cost!r} with {given}, where nothing is counted; "
                "accepted: parameters, or a reference above 0 and no table"
            )
        check_range(self, "label_smoothing", least=0, below=1)
        check_range(self, "logits_every", least=1)

    @property
    def warm_up(self) -> int:
        """See `Settings.warm_up`; the logits rest one epoch more than paths are uniform."""
        return self.logits_from + 1


@register("proxylessnas")
class ProxylessNAS(OneShot):
    """Derives the most probable operations."""

    Settings = ProxylessSettings

    def begin(self) -> None:
        """Also look up what the operations cost."""
        super().begin()
        self.gates = Binarised(2, self.generator("architecture noise"))
        if self.settings.table:
            self.costs = table_costs(self.net, _read(self.settings.table))
        elif self.settings.reference > 0.0:
            self.costs = COSTS[self.settings.cost](self.net)

    def relaxation(self) -> Relaxation:
        """Return uniform paths, for the warm-up."""
        self.warming = Uniform(self.generator("architecture noise"))
        self.sampling = Sampled(self.generator("architecture noise"))
        return self.warming

    def begin_epoch(self) -> None:
        """Draw paths uniformly, then by their probability."""
        warm = self.epoch >= self.settings.logits_from
        self.net.relaxation = self.sampling if warm else self.warming

    def rate(self) -> float:
        """Return the learning rate of the weights, which falls in the warm-up and again after."""
        s, epoch = self.settings, self.epoch + self.step_of_epoch / len(self.training)
        if epoch < s.logits_from:
            done = epoch / s.logits_from
            return half_cosine(s.warm_up_learning_rate, s.least_learning_rate, done)
        return float(s.rate((epoch - s.logits_from) / (s.epochs - s.logits_from)))

    def train_step(self, batch: Batch) -> None:
        """Move the weights on one path; every few steps, the logits on two."""
        s = self.settings
        self.smoothing = s.label_smoothing
        self.weights_step(batch)
        due = self.step_of_epoch % s.logits_every == 0
        if self.epoch > s.logits_from and due:
            self.smoothing = 0.0
            self.gates_step(self.held_out.next())

    def gates_step(self, batch: Batch) -> None:
        """Move the logits of two paths an edge, and keep their joint probability."""
        logits = self.net.logits
        before = logits.detach().clone()
        self.net.relaxation = self.gates
        mix = self.net.mix()
        self.net.relaxation = self.sampling
        loss, accuracy = self.loss(batch, mix)
        self.log("supernet_loss", loss)
        self.log("supernet_accuracy", accuracy)
        assert mix.paths is not None
        self.descend_logits(self.with_latency(loss, mix.paths))
        keep_mass(logits, before, mix.paths)

    def with_latency(self, loss: Tensor, paths: Sequence[Sequence[int]]) -> Tensor:
        """Return the loss with the expected latency in it, as a function of the drawn paths."""
        s = self.settings
        if s.reference == 0.0:
            return loss
        gaps = self.net.logits.masked_fill(self.net.missing, -math.inf)
        expected = expected_cost(drawn_shares(gaps, paths), self.costs)
        self.log("latency", expected)
        return penalised(loss, expected, s.reference, s.penalty, s.weight)


def drawn_shares(logits: Tensor, paths: Sequence[Sequence[int]]) -> Tensor:
    """Return softmax(logits) [edges, operations], with a gradient between each row's `paths` only.

    Each row's drawn paths share what probability they have together.
    """
    drawn = torch.zeros_like(logits, dtype=torch.bool)
    for row, path in zip(drawn, paths, strict=True):
        row[list(path)] = True
    shares = logits.detach().softmax(dim=1)
    mass = (shares * drawn).sum(dim=1, keepdim=True)
    return torch.where(drawn, mass * logits.masked_fill(~drawn, -math.inf).softmax(dim=1), shares)


def penalised(
    loss: Tensor, expected: Tensor, reference: float, penalty: str, weight: float
) -> Tensor:
    """Return cross-entropy and expected latency as one loss; see `ProxylessSettings.penalty`."""
    if penalty == "add":
        return loss + weight * (expected - reference) / reference
    # Costs below one unit count as one: a power of a negative logarithm is no number.
    ratio = expected.clamp_min(1.0).log().clamp_min(1e-6) / math.log(reference)
    return weight * loss * ratio**0.3


def _read(path: str) -> dict[str, float]:
    """Return the table in a file; raises `InputError`."""
    try:
        table = {str(k): float(v) for k, v in json.loads(Path(path).read_text()).items()}
        if not all(0.0 <= latency < math.inf for latency in table.values()):
            raise ValueError
        return table
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"table {path!r} is not readable; accepted: a JSON object of latencies, numbers from "
            "0, by operation"
        ) from error
