"""Supernets: one network that holds the weights of every architecture of a space."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from transnas._errors import InputError
from transnas._registry import Registry
from transnas.networks._mixed import MixedEdges
from transnas.networks._registry import build, positive, require_kind
from transnas.networks.operations import Mode
from transnas.networks.relaxations import Mix, OneHot, Relaxation
from transnas.spaces import Architecture, Space
from transnas.tasks import Signature

__all__ = [
    "SEARCH",
    "Form",
    "Operation",
    "RowsAreChoices",
    "Supernet",
    "register_supernet",
    "supernet",
    "supernets",
]

SEARCH = Mode(affine=False, track_running_stats=False)
"""Running averages of mixtures mean nothing for one path, so batch statistics always."""

_SCALE = 1e-3
"""Standard deviation of the first logits (Liu et al., "DARTS", ICLR 2019)."""

_BACKENDS = ("auto", "torch", "compiled")


@dataclass(frozen=True, slots=True)
class Form:
    """How the mixed edges of a supernet are built and run, whatever its space."""

    partial: int = 1
    """Mixed edges compute one channel in this many (PC-DARTS: 4); it must divide the channels."""
    normalise_edges: bool = False
    """Edges into a node have logits of their own; their softmax scales what they bring."""
    allowed: tuple[tuple[int, ...], ...] | None = None
    """Codes of the operations of each row of the logits (sub-spaces, pruning); None: all."""
    checkpoint: bool = False
    """Cells are computed again in the backward pass: less memory, equal gradients."""
    backend: Literal["auto", "torch", "compiled"] = "auto"
    """`compiled` runs mixed edges in a kernel that is built on first use; `auto` where it can."""

    def __post_init__(self) -> None:
        positive("partial", self.partial)
        if self.backend not in _BACKENDS:
            raise InputError(f"backend is {self.backend!r}; accepted: {', '.join(_BACKENDS)}")


class Operation(NamedTuple):
    """What one code of a row of the logits stands for."""

    name: str
    """As its space calls it; `none` where the code leaves something out."""
    modules: tuple[nn.Module, ...] = ()
    """Modules of this code of this row alone, in all cells; () where others share its weights."""


class Supernet(nn.Module, ABC):
    """Base of all supernets: logits [edges, operations], a relaxation, and shared weights.

    A row of the logits is a choice that one architecture makes once (in cells: an edge, shared by
    all cells of a kind). Subclasses say what their rows are, and compute what a `Mix` says.
    """

    has_edges = False
    """Whether rows are edges that add up in nodes, so that `Form.normalise_edges` has a meaning."""

    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form,
        available: Sequence[Sequence[int]],
        skeleton: Mapping[str, Any],
        nodes: Sequence[int] | None = None,
    ) -> None:
        """`available` are the codes of each row; `nodes` how many rows lead to each node.

        `skeleton` are the settings of `build`, with its defaults where others rely on them.
        """
        super().__init__()
        self.space = space
        self.signature = signature
        self.relaxation = relaxation
        self.form = form
        self.skeleton = dict(skeleton)
        self.nodes = None if nodes is None else tuple(nodes)
        if not self.has_edges and (form.partial > 1 or form.normalise_edges):
            raise InputError(
                f"supernet of space {space.name!r} has no sums of mixed edges; accepted: "
                "partial=1 and normalise_edges=False"
            )
        self.allowed = _allowed(available, form.allowed)
        columns = 1 + max(code for row in available for code in row)
        missing = [[code not in codes for code in range(columns)] for codes in self.allowed]
        self.is_ragged = any(map(any, missing))
        self.register_buffer("missing", torch.tensor(missing), persistent=False)
        self.missing: Tensor
        self.logits = nn.Parameter(_SCALE * torch.randn(len(available), columns))
        self.edge_logits = (
            nn.Parameter(_SCALE * torch.randn(len(available))) if form.normalise_edges else None
        )

    # Forward ----------------------------------------------------------------------------------

    def forward(self, x: Tensor, mix: Mix | None = None) -> Tensor:
        """[B, C, H, W] -> [B, outputs]; `mix` replaces what the relaxation makes of the logits."""
        return self.run(x, self.mix() if mix is None else mix)

    def predictions(
        self, inputs: Tensor, targets: Any, mix: Mix | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return scores [N, outputs] for a batch and the classes int64 [N] that are right."""
        return self(inputs, mix), targets

    def mix(self, logits: Tensor | None = None) -> Mix:
        """Return what the relaxation makes of `logits` [edges, operations]; None: the own ones."""
        mixed = self.relaxation(self._with_gaps(self.logits if logits is None else logits))
        if self.edge_logits is None:
            return mixed
        edges = self._edge_shares(self.edge_logits)
        return Mix(mixed.weights * edges[:, None], mixed.paths, edges)

    def drop(self, path: float = 0.0, skip: float = 0.0) -> None:
        """Set what mixed edges drop at random in training mode.

        `path`: probability of losing an operation for one sample, identities excepted (Zela et
        al., ICLR 2020); `skip`: dropout on identities (Chen et al., "P-DARTS", ICCV 2019).
        """
        for edges in self._mixed_edges():
            edges.drop_path, edges.skip_dropout = path, skip

    @contextmanager
    def undropped(self) -> Iterator[None]:
        """Let mixed edges drop nothing, for what is measured in training mode."""
        rates = [(edges, edges.drop_path, edges.skip_dropout) for edges in self._mixed_edges()]
        self.drop()
        try:
            yield
        finally:
            for edges, path, skip in rates:
                edges.drop_path, edges.skip_dropout = path, skip

    def _mixed_edges(self) -> list[MixedEdges]:
        return [module for module in self.modules() if isinstance(module, MixedEdges)]

    # Parameters -------------------------------------------------------------------------------

    def architecture_parameters(self) -> list[nn.Parameter]:
        """Return the logits, and those of the edges if there are any."""
        return [self.logits] + ([] if self.edge_logits is None else [self.edge_logits])

    def shared_weights(self) -> list[nn.Parameter]:
        """Return every parameter but those of the architecture."""
        architecture = {id(p) for p in self.architecture_parameters()}
        return [p for p in self.parameters() if id(p) not in architecture]

    def shares(self) -> Tensor:
        """Return softmax(logits), times the softmax of the edges: [edges, operations], float64.

        Raises `InputError` where they are not finite.
        """
        logits = self.logits.detach().cpu().double()
        _check_finite(logits)
        shares = logits.masked_fill(self.missing.cpu(), -math.inf).softmax(dim=1)
        if self.edge_logits is None:
            return shares
        edge_logits = self.edge_logits.detach().cpu().double()
        _check_finite(edge_logits)
        return shares * self._edge_shares(edge_logits)[:, None]

    # Architectures ----------------------------------------------------------------------------

    def path(self, arch: Architecture) -> Mix:
        """Return the edge weights of one architecture, for `forward`."""
        self.space.validate(arch)
        return OneHot(self.codes(arch))(self.logits)

    def derive(self) -> Architecture:
        """Return the architecture that the logits stand for; ties go to the first operation."""
        return self.discretise(self.shares())

    def selectable(self, row: int) -> tuple[int, ...]:
        """Return the operations of a row that `discretise` may choose."""
        return self.allowed[row]

    def discrete(self, arch: Architecture) -> nn.Module:
        """Return the network that `build` makes of `arch`, with copies of the shared weights.

        In training mode it computes what the supernet computes on this path, unless the supernet
        normalises where networks do not (see `twin`): scale and shift of its normalisations
        start at 1 and 0, and the supernet's biases, which it lacks, only shift maps that are
        normalised next. Its running statistics are fresh.
        """
        with torch.random.fork_rng(devices=[]):  # drawing weights to discard leaves no trace
            network = build(self.space, arch, self.signature, **self.skeleton).to(self.logits)
        self.copy_into(network, arch)
        return network

    def twin(self, arch: Architecture) -> nn.Module:
        """Return the discrete network of `arch` that computes exactly what the supernet does.

        It is `discrete(arch)` with the normalisations that only searching has (of pools in DARTS
        cells, of states in recurrent ones).
        """
        return self.discrete(arch)

    def copy_into(self, network: nn.Module, arch: Architecture) -> None:
        """Copy the shared weights of `arch` into its discrete `network`, where it has them.

        Raises `InputError` for weights of a part of the channels (`Form.partial`).
        """
        if self.form.partial > 1:
            raise InputError(
                f"the supernet's operations have 1/{self.form.partial} of the channels, too few "
                "for a discrete network; accepted: a supernet with partial=1"
            )
        shared, codes = self.state_dict(), self.codes(arch)
        for name, value in network.state_dict().items():
            source = self.shared_value(shared, name, codes)
            if source is not None:
                value.copy_(source)

    def shared_value(
        self, shared: Mapping[str, Tensor], name: str, codes: Sequence[int | None]
    ) -> Tensor | None:
        """Return from `shared` what a discrete network calls `name`; None: it is not there."""
        return shared.get(self.shared_name(name, codes))

    @abstractmethod
    def run(self, x: Tensor, mix: Mix) -> Tensor:
        """[B, C, H, W] -> [B, outputs] under the edge weights of `mix`."""

    def stages(self, x: Tensor, mix: Mix) -> list[Tensor]:
        """[B, C, H, W] -> the features that heads of other kinds stand on, finer ones first."""
        raise NotImplementedError

    @property
    def outline(self) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
        """Channels and strides of `stages`; None: there are none."""
        return None

    @abstractmethod
    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        """Return the operation of each edge in `arch`; None: the edge is not there."""

    @abstractmethod
    def operation(self, row: int, code: int) -> Operation:
        """Return what an allowed code of a row stands for."""

    @abstractmethod
    def discretise(self, shares: Tensor) -> Architecture:
        """Return the architecture that `shares` [edges, operations] stand for."""

    @abstractmethod
    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        """Return this module's name of the weight that a discrete network calls `name`."""

    def _with_gaps(self, logits: Tensor) -> Tensor:
        return logits.masked_fill(self.missing, -math.inf) if self.is_ragged else logits

    def _edge_shares(self, edge_logits: Tensor) -> Tensor:
        """[edges] -> softmax over the edges into each node."""
        assert self.nodes is not None
        return torch.cat(
            [into.softmax(dim=0) for into in torch.split(edge_logits, list(self.nodes))]
        )


class RowsAreChoices(Supernet):
    """A supernet whose rows are the choices of its space, so that values are codes."""

    def codes(self, arch: Architecture) -> tuple[int, ...]:
        """Return the operation of each row, which are the values of `arch`."""
        return arch.values

    def operation(self, row: int, code: int) -> Operation:
        """Return the value of the choice; subclasses add what has weights."""
        return Operation(self.space.choices[row].values[code])

    def discretise(self, shares: Tensor) -> Architecture:
        """Return the strongest operation of each row."""
        return self.space.architecture(shares.argmax(dim=1).tolist())


def _allowed(
    available: Sequence[Sequence[int]], chosen: Sequence[Sequence[int]] | None
) -> tuple[tuple[int, ...], ...]:
    """Return the codes of each row, ascending; raises `InputError` for codes that are not there."""
    if chosen is None:
        return tuple(tuple(row) for row in available)
    if len(chosen) != len(available):
        raise InputError(f"allowed has {len(chosen)} rows; accepted: {len(available)}")
    for row, (codes, there) in enumerate(zip(chosen, available, strict=True)):
        if not codes or not set(codes) <= set(there):
            raise InputError(
                f"allowed[{row}] is {tuple(codes)}; accepted: some of {', '.join(map(str, there))}"
            )
    return tuple(tuple(sorted(set(codes))) for codes in chosen)


def _check_finite(logits: Tensor) -> None:
    if not bool(logits.isfinite().all()):
        raise InputError("architecture logits are not finite; accepted: finite numbers")


_SUPERNETS: Registry[Callable[..., Supernet]] = Registry(
    "supernet for space", "transnas.networks", "networks"
)
register_supernet = _SUPERNETS.register
"""Decorator that enters (space, signature, relaxation, form, **skeleton) -> `Supernet`."""
supernets = _SUPERNETS.names
"""Return the names of all spaces that have a supernet, sorted."""


def supernet(
    space: Space,
    signature: Signature,
    relaxation: Relaxation,
    form: Form = Form(),
    **skeleton: Any,
) -> Supernet:
    """Return the supernet of `space`: [B, *signature.input_shape] -> [B, signature.outputs].

    `skeleton` are the settings of `build`; weights and logits are drawn from torch's global
    generator. Raises `InputError` for a space without supernet, a task that is no classification,
    an unknown setting, or a form that the space cannot have.
    """
    require_kind(space, signature)
    return _SUPERNETS.get(space.name)(space, signature, relaxation, form, **skeleton)
