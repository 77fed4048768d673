"""`OneShot`: what every method is, a supernet, how a step trains it, and what is derived from it.

A method is one file: its settings, its relaxation, its step, its rule of derivation. What is
common lies here: two optimisers, two streams of batches, random generators by purpose, logs, and
the state from which an interrupted search goes on exactly.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from transnas import networks
from transnas._errors import InputError
from transnas.evaluation.training import Batches, Workplace
from transnas.networks import Form, Supernet
from transnas.networks.relaxations import Mix, Relaxation
from transnas.oneshot._settings import Settings
from transnas.oneshot._streams import Stream, seeded
from transnas.spaces import Architecture, Space
from transnas.strategies import generator_state, restore_generator
from transnas.tasks import DataTask, Task

__all__ = ["Batch", "OneShot", "Sampled", "check_task"]

Batch = tuple[Tensor, Tensor]
"""Inputs [B, C, H, W] and labels [B]."""

_CHECKED = 4
"""Validation batches on which each epoch's derived architecture is looked at."""
_CHECK_SIZE = 256


class OneShot(ABC):
    """One search under way. Constructed under the seed that draws the first weights."""

    Settings: ClassVar[type[Settings]] = Settings
    net: Supernet
    smoothing = 0.0
    """Share of the targets spread over all classes in losses."""

    def __init__(
        self,
        task: DataTask,
        space: Space,
        settings: Any,
        skeleton: Mapping[str, Any],
        seed: int,
        at: Workplace,
    ) -> None:
        self.task = task
        self.space = space
        self.settings = settings
        self.skeleton = dict(skeleton)
        self.seed = seed
        self.at = at
        self.epoch = 0
        """Epochs done; a search may be stopped between two."""
        self.step_of_epoch = 0
        self.stopped = False
        """Set by methods that end before `settings.epochs`."""
        self.generators: dict[str, torch.Generator] = {}
        self.rng = np.random.default_rng([seed, 1])
        self._totals: dict[str, Tensor] = {}
        size, device = settings.batch_size, at.device
        self.training = Stream(
            task.train, size, device, seeded(seed, "training data"), task.augmentation
        )
        self.held_out = Stream(
            task.validation, size, device, seeded(seed, "validation data"), task.augmentation
        )
        self._checked = Batches(task.validation, _CHECK_SIZE, device, seeded(seed, "checks"))
        self.begin()

    # What a method defines --------------------------------------------------------------------

    @abstractmethod
    def relaxation(self) -> Relaxation:
        """Return what turns the logits into the weights of the supernet's edges."""

    @abstractmethod
    def train_step(self, batch: Batch) -> None:
        """Take one step on a batch of training data."""

    def begin(self) -> None:
        """Build the supernet and what else the search needs."""
        self.install(self.supernet())

    def begin_epoch(self) -> None:  # noqa: B027 - most methods change nothing between epochs
        """Set what epoch `self.epoch` (from 0) decides: temperatures, rates of dropping.

        Called again where a search goes on within an epoch.
        """

    def end_epoch(self) -> None:  # noqa: B027 - most methods only take steps
        """Do what comes after the last step of an epoch."""

    def present(self) -> Architecture:
        """Return the architecture that the search would give now, cheaply."""
        return self.net.derive()

    def derive(self) -> Architecture:
        """Return the architecture that the search gives at its end."""
        return self.present()

    def shares(self) -> Tensor | None:
        """Return how the architecture's weight is spread, [edges, operations]; None: not at all.

        Raises `InputError` where it is not finite.
        """
        return self.net.shares()

    # Parts for methods ------------------------------------------------------------------------

    @property
    def done(self) -> float:
        """The share of all steps that is done, from 0 to 1."""
        epochs: int = self.settings.epochs
        return (self.epoch + self.step_of_epoch / len(self.training)) / epochs

    @property
    def epochs_done(self) -> float:
        """The place of the present epoch, 0 for the first and 1 for the last."""
        last: int = max(1, self.settings.epochs - 1)
        return self.epoch / last

    def generator(self, purpose: str) -> torch.Generator:
        """Return this search's generator for `purpose`, on its device."""
        if purpose not in self.generators:
            self.generators[purpose] = seeded(self.seed, purpose, self.at.device)
        return self.generators[purpose]

    def form(self) -> Form:
        """Return how the supernet's mixed edges are built and run."""
        return Form()

    def supernet(self, **changes: Any) -> Supernet:
        """Return a new supernet; `changes` replace settings of the skeleton."""
        chosen = {**self.skeleton, **changes}
        signature = self.task.signature
        return networks.supernet(self.space, signature, self.relaxation(), self.form(), **chosen)

    def install(self, net: Supernet) -> None:
        """Make `net` the search's supernet, with fresh optimisers."""
        s = self.settings
        self.net = net.to(self.at.device).to(memory_format=torch.channels_last).train()
        self.weights = self.net.shared_weights()
        self.by_weights = torch.optim.SGD(
            self.weights,
            lr=s.learning_rate,
            momentum=s.momentum,
            weight_decay=s.weight_decay,
            nesterov=s.nesterov,
        )
        self.by_logits = torch.optim.Adam(
            self.net.architecture_parameters(),
            lr=s.logits_learning_rate,
            betas=(s.logits_beta, 0.999),
            weight_decay=s.logits_decay,
        )

    def rate(self) -> float:
        """Return the present learning rate of the weights."""
        return float(self.settings.rate(self.done))

    def loss(self, batch: Batch, mix: Mix | None = None) -> tuple[Tensor, Tensor]:
        """Return cross-entropy [] and accuracy [] of the supernet on a batch."""
        with self.at.fabric.autocast():
            scores, labels = self.net.predictions(*batch, mix)
        loss = F.cross_entropy(scores.float(), labels, label_smoothing=self.smoothing)
        return loss, (scores.detach().argmax(1) == labels).float().mean()

    def weights_step(self, batch: Batch, mix: Mix | None = None) -> None:
        """Move the weights, and nothing else, down the loss of a batch.

        Weights of operations that no path uses rest: neither momentum nor decay moves them.
        """
        loss, _ = self.loss(batch, mix)
        self.log("train_loss", loss)
        self.descend_weights(loss)

    def descend_weights(self, loss: Tensor) -> None:
        """Take one step of the weights' optimiser down `loss`."""
        self.by_weights.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=self.weights)
        torch.nn.utils.clip_grad_norm_(self.weights, self.settings.gradient_clip)
        self.move_weights()

    def move_weights(self) -> None:
        """Take one step of the weights' optimiser along the gradients that are there."""
        for group in self.by_weights.param_groups:
            group["lr"] = self.rate()
        self.by_weights.step()

    def logits_step(self, batch: Batch) -> None:
        """Move the logits, and nothing else, down the loss of a batch."""
        loss, accuracy = self.loss(batch)
        self.log("supernet_loss", loss)
        self.log("supernet_accuracy", accuracy)
        self.descend_logits(loss)

    def descend_logits(self, loss: Tensor) -> None:
        """Take one step of the logits' optimiser down `loss`."""
        self.by_logits.zero_grad(set_to_none=True)
        torch.autograd.backward(loss, inputs=self.net.architecture_parameters())
        self.by_logits.step()

    def checks(self) -> Iterator[Batch]:
        """Yield batches of the validation split as they are, in one mixed order for all calls.

        Splits are often sorted by class, of which a few batches would hold one or two.
        """
        self._checked.generator = seeded(self.seed, "checks")
        yield from self._checked.epoch()

    def accuracy(self, arch: Architecture, batches: Iterator[Batch]) -> float:
        """Return the accuracy of `arch` with the shared weights and the batches' statistics."""
        return self.mixture_accuracy(self.net.path(arch), batches)

    @torch.no_grad()
    def mixture_accuracy(self, mix: Mix, batches: Iterator[Batch]) -> float:
        """Return the accuracy of the supernet under `mix` with the batches' statistics."""
        right, count = torch.zeros((), device=self.at.device), 0
        with self.net.undropped():
            for batch in batches:
                right += self.loss(batch, mix)[1] * len(batch[0])
                count += len(batch[0])
        return float(right) / count

    def checked_accuracy(self, arch: Architecture, batches: int | None = _CHECKED) -> float:
        """Return `accuracy` on the first `batches` of `checks`; None: on all of them."""
        return self.accuracy(arch, islice(self.checks(), batches))

    # Logs -------------------------------------------------------------------------------------

    def log(self, name: str, value: Tensor | float) -> None:
        """Add a value to this epoch's mean of `name`."""
        device = self.at.device
        total = self._totals.setdefault(name, torch.zeros(2, device=device))
        total[0] += value.detach() if isinstance(value, Tensor) else value
        total[1] += 1

    def means(self) -> dict[str, float]:
        """Return the means of what was logged since the last call."""
        found = {name: (t[0] / t[1]).item() for name, t in self._totals.items()}
        self._totals.clear()
        return found

    # State ------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Return everything that the rest of the search depends on, as plain data and tensors."""
        return {
            "epoch": self.epoch,
            "step": self.step_of_epoch,
            "stopped": self.stopped,
            "net": dict(self.net.state_dict()),
            "by_weights": self.by_weights.state_dict(),
            "by_logits": self.by_logits.state_dict(),
            "generators": {name: g.get_state() for name, g in self.generators.items()},
            "rng": generator_state(self.rng),
            "training": self.training.state(),
            "held_out": self.held_out.state(),
            "totals": dict(self._totals),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on exactly from a `state` of a search with equal task, space, settings and seed."""
        self.epoch, self.step_of_epoch = state["epoch"], state["step"]
        self.stopped = state["stopped"]
        self.net.load_state_dict(state["net"])
        self.by_weights.load_state_dict(state["by_weights"])
        self.by_logits.load_state_dict(state["by_logits"])
        for name, value in state["generators"].items():
            self.generator(name).set_state(value)
        restore_generator(self.rng, state["rng"])
        self.training.restore(state["training"])
        self.held_out.restore(state["held_out"])
        totals = state["totals"]
        self._totals = {name: total.clone().to(self.at.device) for name, total in totals.items()}


class Sampled(OneShot):
    """A search that scores single architectures with the shared weights, to find the best."""

    def uniform(self) -> Mix:
        """Return the path of an architecture drawn uniformly from the space."""
        return self.net.path(self.space.sample(self.rng))

    def present(self) -> Architecture:
        """Return the best of a few architectures, drawn by seed and epoch, on a few batches."""
        rng = np.random.default_rng([self.seed, 2, self.epoch])
        drawn = [self.space.sample(rng) for _ in range(_CHECKED)]
        return max(drawn, key=lambda arch: self.checked_accuracy(arch, 1))

    def best(self, archs: Sequence[Architecture], keep: int, batches: int) -> Architecture:
        """Return the best of `archs`: all on `batches` batches, the first `keep` on all data."""
        archs = list(dict.fromkeys(archs))
        if len(archs) > 1:
            scores = [self.checked_accuracy(arch, batches) for arch in archs]
            order = sorted(range(len(archs)), key=lambda i: -scores[i])
            archs = [archs[i] for i in order[:keep]]
        if len(archs) > 1:
            archs = [max(archs, key=lambda arch: self.checked_accuracy(arch, None))]
        return archs[0]


def check_task(task: Task) -> DataTask:
    """Return `task`; raises `InputError` if it has no data, or asks for a head of its own."""
    if not isinstance(task, DataTask):
        raise InputError(
            f"task {task.name!r} has no data to train a supernet on; accepted: one with data"
        )
    if task.kind not in ("classification", "language"):
        raise InputError(
            f"task {task.name!r} is {task.kind}, which one-shot search has no heads for; accepted: "
            "classification, or transnas interleave"
        )
    return task


def linear(first: float, last: float, done: float) -> float:
    """Return the value at `done` in 0..1 between two ends."""
    return first + (last - first) * done


def geometric(first: float, last: float, done: float) -> float:
    """Return the value at `done` in 0..1 of an exponential decay between two ends."""
    return first * math.exp(math.log(last / first) * done)
