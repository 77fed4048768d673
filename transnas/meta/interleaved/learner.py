"""What one task owns: encoder, head, optimiser, streams of data."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transnas._checkpoints import optimiser_state, restore_optimiser
from transnas.evaluation.training import deterministic
from transnas.meta.interleaved.encoders import (
    Encoder,
    architecture_of,
    put_head,
    take_dense_head,
    take_head,
)
from transnas.meta.interleaved.hyper import Hyper, generated_names, importance
from transnas.meta.interleaved.kinds import DENSE, batch_size, kind_of
from transnas.meta.interleaved.matching import Matcher
from transnas.meta.interleaved.methods import METHODS
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.meta.interleaved.streams import stream_seed
from transnas.networks import Supernet
from transnas.networks._heads import backbone_of
from transnas.networks.relaxations import Mix, Relaxation
from transnas.oneshot._streams import Stream, seeded
from transnas.tasks import DataTask

__all__ = ["Learner", "weight_optimiser"]


class Learner:
    """Task number `k` with everything that is private to it."""

    def __init__(
        self,
        k: int,
        task: DataTask,
        network: nn.Module,
        settings: InterleaveSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self.k = k
        self.task = task
        self.kind = kind_of(task)
        self.chance = self.kind.chance(task)
        """Loss of the best constant predictor on validation data; None: not known."""
        self.device = device
        self.dense = task.kind in DENSE
        """Whether its head stands on the maps of all stages, not on pooled features."""
        weights, body = self._take_apart(network)
        self.encoder = Encoder(body, self.dense)
        self.alpha = architecture_of(body)
        self.relaxations = self._relaxations(settings)
        """Of stages, and of the architecture's step."""
        self.private = weights
        """Parameters that this task's optimiser moves."""
        features = backbone_of(self.head).channels[-1] if self.dense else self.head.in_features
        self.project: nn.Module = nn.Identity()
        if settings.variant.term == "distil":
            self.project = nn.Linear(features, features, bias=False, device=device)
            nn.init.eye_(self.project.weight)
            self.private = [*weights, *self.project.parameters()]
        own = stream_seed(seed, task.name)
        self.train, self.validation = (
            Stream(
                split,
                batch_size(task, settings.batch_size),
                device,
                seeded(own, purpose),
                task.augmentation,
            )
            for purpose, split in (
                ("training data", task.train),
                ("validation data", task.validation),
            )
        )
        assert settings.anchors is not None
        assert settings.views is not None
        draws = torch.Generator().manual_seed(stream_seed(seed, task.name, "matched"))
        self.matcher = Matcher(task, settings.anchors, settings.views, settings.sources, draws)
        self._chance = torch.Generator().manual_seed(stream_seed(seed, task.name, "head"))
        """Of what dense heads draw: dropped units, sampled proposals."""
        self.hyper: Hyper | None = None
        self.base: dict[str, Tensor] = {}
        self.visited = False
        self.factor = 1.0
        """What divergences left of its learning rate and of its weight."""
        self.strikes = 0
        self.resident = True
        """Whether its weights are on the device."""
        self._settings = settings
        self.optimise()

    def _take_apart(self, network: nn.Module) -> tuple[list[nn.Parameter], nn.Module]:
        """Take the head, a module of its own; return all weights and the body without it."""
        signature = self.task.signature
        self.head: Any
        if not self.dense:
            network.to(self.device).to(memory_format=torch.channels_last).train()
            weights = _weights(network)
            self.head = take_head(network, signature.outputs, self.task.name)
            return weights, network
        body, self.head = take_dense_head(network, signature)
        for part in (body, self.head):
            part.to(self.device).to(memory_format=torch.channels_last).train()
        return [*_weights(body), *self.head.parameters()], body

    def _relaxations(self, settings: InterleaveSettings) -> list[Relaxation]:
        network = self.encoder.network
        if not isinstance(network, Supernet):
            return []
        method, own = METHODS[settings.method], network.relaxation
        generator = getattr(own, "generator", None)
        if method.weights is None or generator is None:
            return [own, own]
        return [method.weights(generator), own]

    @property
    def active(self) -> bool:
        """Whether the task still takes part."""
        return self.strikes < self._settings.strikes

    def optimise(self) -> None:
        """Make the optimiser of `private` anew."""
        self.optimiser = weight_optimiser(self.private, self._settings)

    def share_encoder(self, other: Learner) -> None:
        """Use the encoder of `other`; only head and projection stay private."""
        self.encoder = other.encoder
        self.alpha = other.alpha
        self.keep_private()

    def keep_private(self) -> None:
        """Leave the encoder to a shared optimiser."""
        self.private = [*self.head.parameters(), *self.project.parameters()]
        self.optimise()

    def generate_with(self, hyper: Hyper, base: Mapping[str, Tensor]) -> None:
        """Let `hyper` generate the kernels of the cells, around the fixed `base`."""
        self.hyper = hyper
        cells = self.encoder.cell_weights()
        replaced = {id(cells[name]) for name in generated_names(cells)}
        self.base = {name: w.detach().clone() for name, w in base.items()}
        self.private = [p for p in self.private if id(p) not in replaced]
        self.optimise()

    # Running it ---------------------------------------------------------------------------------

    def mix(self, stage: bool = False) -> Mix | None:
        """Return the edge weights of the present architecture, drawn anew if they are drawn.

        `stage`: those that weights are trained under, where a method tells the two apart.
        """
        network = self.encoder.network
        if not isinstance(network, Supernet):
            return None
        network.relaxation = self.relaxations[0 if stage else 1]
        return network.mix()

    def generated(self, path: bool) -> dict[str, Tensor] | None:
        """Return generated weights; `path` keeps the gradient into the architecture."""
        if self.hyper is None:
            return None
        a = importance(self.alpha)
        found: dict[str, Tensor] = self.hyper(a if path else a.detach(), self.k, self.base)
        return found

    def features(
        self, mix: Mix | None, weights: Mapping[str, Tensor] | None, keep_buffers: bool = True
    ) -> Callable[[Tensor], Tensor]:
        """Return the encoder under these weights as a function of images."""
        return lambda images: self.encoder.call(images, mix, weights, keep_buffers)

    def output(
        self,
        batch: tuple[Tensor, Any],
        mix: Mix | None,
        weights: Mapping[str, Tensor] | None = None,
        head: Mapping[str, Tensor] | None = None,
        keep_buffers: bool = False,
        constant: bool = False,
    ) -> Any:
        """Return what the head makes of a batch, with `weights` and `head` in place of its own.

        `constant`: the encoder gets no gradient. `keep_buffers` as for `Encoder.call`.
        """
        images, targets = batch

        def features(x: Tensor) -> Any:
            found = self.encoder.call(x, mix, weights, keep_buffers, self.dense)
            if not constant:
                return found
            return [m.detach() for m in found] if self.dense else found.detach()

        replaced = dict(head or {})
        if not self.dense:
            z = features(images)
            return torch.func.functional_call(self.head, replaced, (z,)) if head else self.head(z)
        if keep_buffers:
            replaced |= {name: b.clone() for name, b in self.head.named_buffers()}
        backbone_of(self.head).run = features
        inputs = (images, targets) if self.task.kind == "detection" else (images,)
        with deterministic(int(torch.randint(2**31, (), generator=self._chance)), self.device):
            return torch.func.functional_call(self.head, replaced, inputs)

    def whole(self) -> nn.Module:
        """Return a copy of the network with its head put back, for use outside of the search.

        A copy, since tasks may share an encoder.
        """
        return put_head(*copy.deepcopy((self.encoder.network, self.head)))

    # State --------------------------------------------------------------------------------------

    def place(self, device: torch.device) -> None:
        """Move weights and momentum to `device`; the shared architecture and its masks stay."""
        shared = {id(a) for a in self.alpha}
        for module in self._parts.values():
            for p in module.parameters():
                if id(p) not in shared:
                    p.data, p.grad = p.data.to(device), None
            for buffer in module.buffers():
                if buffer.dtype != torch.bool:
                    buffer.data = buffer.data.to(device)
        for state in self.optimiser.state.values():
            for key, value in state.items():
                if isinstance(value, Tensor):
                    state[key] = value.to(device)
        self.base = {name: w.to(device) for name, w in self.base.items()}
        self.resident = device == self.device

    def snapshot(self) -> dict[str, Tensor]:
        """Return copies of the weights that a stage moves, by `encoder.*` and `head.*` names."""
        return {name: p.detach().clone() for name, p in self.named_weights().items()}

    def named_weights(self) -> dict[str, Tensor]:
        """Return the weights that a stage moves, by `encoder.*`, `head.*`, `project.*` names."""
        moved = {id(p) for p in self.private}
        return {
            f"{part}.{name}": p
            for part, module in self._parts.items()
            for name, p in module.named_parameters()
            if id(p) in moved
        }

    @property
    def _parts(self) -> dict[str, nn.Module]:
        """The modules whose weights are the task's, or those of an encoder that it shares."""
        return {"encoder": self.encoder, "head": self.head, "project": self.project}

    def _draws(self) -> torch.Generator | None:
        """Return the generator of sampled edge weights, if there is one."""
        found = getattr(self.relaxations[0], "generator", None) if self.relaxations else None
        return found if isinstance(found, torch.Generator) else None

    def state(self) -> dict[str, Any]:
        """Return everything that this task's later steps depend on."""
        generator = self._draws()
        skipped = {id(a) for a in self.alpha}
        weights = {
            f"{part}.{name}": value
            for part, module in self._parts.items()
            for name, value in (*module.named_parameters(), *module.named_buffers())
            if id(value) not in skipped
        }
        return {
            "weights": {name: value.detach() for name, value in weights.items()},
            "optimiser": optimiser_state(self.optimiser),
            "train": self.train.state(),
            "validation": self.validation.state(),
            "matched": self.matcher.generator.get_state(),
            "head": self._chance.get_state(),
            "relaxation": None if generator is None else generator.get_state(),
            "base": self.base,
            "visited": self.visited,
            "factor": self.factor,
            "strikes": self.strikes,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        with torch.no_grad():
            for part, module in self._parts.items():
                for name, value in (*module.named_parameters(), *module.named_buffers()):
                    if f"{part}.{name}" in state["weights"]:
                        value.copy_(state["weights"][f"{part}.{name}"])
        restore_optimiser(self.optimiser, state["optimiser"])
        self.train.restore(state["train"])
        self.validation.restore(state["validation"])
        self.matcher.generator.set_state(state["matched"])
        self._chance.set_state(state["head"])
        if state["relaxation"] is not None:
            draws = self._draws()
            assert draws is not None
            draws.set_state(state["relaxation"])
        for name, value in state["base"].items():
            self.base[name].copy_(value)  # in place: the layout decides how sums are rounded
        self.visited, self.factor = bool(state["visited"]), float(state["factor"])
        self.strikes = int(state["strikes"])


def _weights(network: nn.Module) -> list[nn.Parameter]:
    """Return all parameters but those of the architecture."""
    if isinstance(network, Supernet):
        return network.shared_weights()
    return list(network.parameters())


def weight_optimiser(
    parameters: Sequence[nn.Parameter], settings: InterleaveSettings
) -> torch.optim.SGD:
    """Return the optimiser of weights that the settings describe."""
    return torch.optim.SGD(
        list(parameters),
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
    )
