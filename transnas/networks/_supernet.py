"""Supernets: one network that holds the weights of every architecture of a space.

Edges that leave one node are kept together: operations without parameters are computed once for
all of them, and operations that are not on a sampled path are not computed at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas._registry import Registry
from transnas.networks._registry import build, require_kind
from transnas.networks.operations import Mode, Zero
from transnas.networks.relaxations import Mix, OneHot, Relaxation
from transnas.spaces import Architecture, Space
from transnas.tasks import Signature

__all__ = ["SEARCH", "MixedEdges", "Supernet", "register_supernet", "supernet", "supernets"]

SEARCH = Mode(affine=False, track_running_stats=False)
"""Running averages of mixtures mean nothing for one path, so batch statistics always."""

_SCALE = 1e-3
"""Standard deviation of the first logits (Liu et al., "DARTS", ICLR 2019)."""


class MixedEdges(nn.Module):
    """The edges that leave one node; each computes a weighted sum of its active operations."""

    def __init__(
        self, rows: Sequence[int], operations: Sequence[str], make: Callable[[str], nn.Module]
    ) -> None:
        """`rows` are the edges' rows of the logits; `make` builds an operation by its name."""
        super().__init__()
        self.rows = tuple(rows)
        self.operations = tuple(operations)
        made = {name: make(name) for name in self.operations}
        self.shared = nn.ModuleDict(
            {name: module for name, module in made.items() if not list(module.parameters())}
        )
        own = [name for name in self.operations if name not in self.shared]
        self.edges = nn.ModuleDict(
            {str(row): nn.ModuleDict({name: make(name) for name in own}) for row in self.rows}
        )

    def forward(self, x: Tensor, mix: Mix) -> Iterator[tuple[int, Tensor]]:
        """Yield row and output of each edge for x [B, C, H, W]; one of only zeros is left out."""
        once: dict[str, Tensor] = {}
        for row in self.rows:
            own = self.edges.get_submodule(str(row))
            terms = []
            for code in mix.active(row):
                name = self.operations[code]
                if name not in self.shared:
                    out = own.get_submodule(name)(x)
                elif isinstance(self.shared[name], Zero):
                    continue
                else:
                    if name not in once:
                        once[name] = self.shared[name](x)
                    out = once[name]
                terms.append(mix.weights[row, code] * out)
            if terms:
                yield row, reduce(torch.add, terms)


class Supernet(nn.Module, ABC):
    """Base of all supernets: logits [edges, operations], a relaxation, and shared weights."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        shape: tuple[int, int],
        skeleton: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.space = space
        self.signature = signature
        self.relaxation = relaxation
        self.skeleton = dict(skeleton)
        self.logits = nn.Parameter(_SCALE * torch.randn(shape))

    def forward(self, x: Tensor, mix: Mix | None = None) -> Tensor:
        """[B, C, H, W] -> [B, outputs]; `mix` replaces what the relaxation makes of the logits."""
        return self.run(x, self.relaxation(self.logits) if mix is None else mix)

    def shared_weights(self) -> list[nn.Parameter]:
        """Return every parameter but the logits."""
        return [p for p in self.parameters() if p is not self.logits]

    def path(self, arch: Architecture) -> Mix:
        """Return the edge weights of one architecture, for `forward`."""
        self.space.validate(arch)
        return OneHot(self.codes(arch))(self.logits)

    def derive(self) -> Architecture:
        """Return the architecture that the logits stand for; ties go to the first operation."""
        logits = self.logits.detach().cpu()
        if not logits.isfinite().all():
            raise InputError("architecture logits are not finite; accepted: finite numbers")
        return self.discretise(logits)

    def discrete(self, arch: Architecture) -> nn.Module:
        """Return the network that `build` makes of `arch`, with copies of the shared weights.

        In training mode it computes what the supernet computes on this path (for NAS-Bench-201;
        the DARTS supernet also normalises what it pools): scale and shift of its normalisations
        start at 1 and 0, and the supernet's biases, which it lacks, only shift maps that are
        normalised next. Its running statistics are fresh.
        """
        with torch.random.fork_rng(devices=[]):  # drawing weights to discard leaves no trace
            network = build(self.space, arch, self.signature, **self.skeleton).to(self.logits)
        self.copy_into(network, arch)
        return network

    def copy_into(self, network: nn.Module, arch: Architecture) -> None:
        """Copy the shared weights of `arch` into its discrete `network`, where it has them."""
        shared, codes = self.state_dict(), self.codes(arch)
        for name, value in network.state_dict().items():
            source = shared.get(self.shared_name(name, codes))
            if source is not None:
                value.copy_(source)

    @abstractmethod
    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the edge weights of `mix`."""

    @abstractmethod
    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        """Return the operation of each edge in `arch`; None: the edge is not there."""

    @abstractmethod
    def discretise(self, logits: Tensor) -> Architecture:
        """Return the architecture that finite `logits` [edges, operations] stand for."""

    @abstractmethod
    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return this module's name of the weight that a discrete network calls `name`."""


_SUPERNETS: Registry[Callable[..., Supernet]] = Registry(
    "supernet for space", "transnas.networks", "networks"
)
register_supernet = _SUPERNETS.register
"""Decorator that enters (space, signature, relaxation, **skeleton) -> `Supernet` for a space."""
supernets = _SUPERNETS.names
"""Return the names of all spaces that have a supernet, sorted."""


def supernet(
    space: Space, signature: Signature, relaxation: Relaxation, **skeleton: Any
) -> Supernet:
    """Return the supernet of `space`: [B, *signature.input_shape] -> [B, signature.outputs].

    `skeleton` are the settings of `build`; weights and logits are drawn from torch's global
    generator. Raises `InputError` for a space without supernet, a task that is no classification,
    or an unknown setting.
    """
    require_kind(space, signature)
    return _SUPERNETS.get(space.name)(space, signature, relaxation, **skeleton)
