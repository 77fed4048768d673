"""Mixed edges: what every cell supernet is made of.

Edges that leave one node are kept together: operations without parameters are computed once for
all of them, and operations that are not on a sampled path are not computed at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from transnas._errors import InputError
from transnas.networks._kernel import Unavailable, load
from transnas.networks._kernel_plan import Plan
from transnas.networks._source_major import branch_of, edges_from, is_usable
from transnas.networks.operations import ReLUConvBN, Zero, drop_path
from transnas.networks.relaxations import Mix
from transnas.networks.separable import DepthwisePointwise, Noise, SeparableConv

__all__ = ["MixedEdges", "NodeSums", "PartialChannels", "recomputed"]


class MixedEdges(nn.Module):
    """The edges that leave one node; each computes a weighted sum of its active operations."""

    def __init__(
        self,
        rows: Sequence[int],
        operations: Sequence[str],
        make: Callable[[str], nn.Module],
        allowed: Sequence[Sequence[int]] | None = None,
        backend: str = "torch",
    ) -> None:
        """`rows` are the edges' rows of the logits; `make` builds an operation by its name.

        `allowed` are the operations of every row of the logits; None: all of them. `backend` is
        that of a `Form`.
        """
        super().__init__()
        self.rows = tuple(rows)
        self.operations = tuple(operations)
        every = range(len(self.operations))
        self.codes = {row: tuple(every if allowed is None else allowed[row]) for row in self.rows}
        self.backend = backend
        self.drop_path = 0.0
        self.skip_dropout = 0.0
        made = {name: make(name) for name in self.operations}
        self.shared = nn.ModuleDict(
            {name: module for name, module in made.items() if _is_shared(module)}
        )
        self.edges = nn.ModuleDict(
            {
                str(row): nn.ModuleDict(
                    {
                        self.operations[code]: make(self.operations[code])
                        for code in self.codes[row]
                        if self.operations[code] not in self.shared
                    }
                )
                for row in self.rows
            }
        )
        branches = [
            known[0]
            for own in self.edges.children()
            for module in own.children()
            if (known := branch_of(module, 0))
        ]
        self.stride = branches[0].stride if branches else 1
        self._has_branches = bool(branches)

    def forward(self, x: Tensor, mix: Mix) -> Iterator[tuple[int, Tensor]]:
        """Yield row and output of each edge for x [B, C, H, W]; one of only zeros is left out."""
        if self._compiles(x):
            yield from self._source_major(x, mix)
        else:
            yield from self._edge_by_edge(x, mix)

    def _edge_by_edge(self, x: Tensor, mix: Mix) -> Iterator[tuple[int, Tensor]]:
        once: dict[str, Tensor] = {}
        rectified: Tensor | None = None
        for row in self.rows:
            own = self.edges.get_submodule(str(row))
            terms = []
            for code in self._active(row, mix):
                name, weight = self.operations[code], mix.weights[row, code]
                if name in self.shared:
                    if name not in once:
                        once[name] = self.shared[name](x)
                    out = weight * once[name]
                elif _folds(module := own.get_submodule(name)):
                    rectified = F.relu(x) if rectified is None else rectified
                    out = module.weighted(rectified, weight)
                else:
                    out = weight * module(x)
                terms.append(self._dropped(name, out))
            if terms:
                yield row, reduce(torch.add, terms)

    def _source_major(self, x: Tensor, mix: Mix) -> Iterator[tuple[int, Tensor]]:
        """Give what the kernel knows to one operation, and add the rest to its outputs."""
        active = {row: self._active(row, mix) for row in self.rows}
        rows = [row for row in self.rows if active[row]]
        if not rows:
            return
        used = sorted({code for row in rows for code in active[row]})
        terms = [code for code in used if self.operations[code] in self.shared]
        shared = [self.shared[self.operations[code]](x) for code in terms]
        branches, places = [], []
        parameters: list[Tensor] = []
        others: dict[int, list[Tensor]] = {row: [] for row in rows}
        for edge, row in enumerate(rows):
            own = self.edges.get_submodule(str(row))
            for code in active[row]:
                if code in terms:
                    continue
                module = own.get_submodule(self.operations[code])
                known = branch_of(module, edge, len(parameters))
                if known is None:
                    others[row].append(mix.weights[row, code] * module(x))
                else:
                    branches.append(known[0])
                    parameters += known[1]
                    places.append((row, code))
        stride = self.stride
        plan = Plan(tuple(branches), x.shape[1], 1, len(rows), len(terms), stride)
        weights = mix.weights[[r for r, _ in places], [c for _, c in places]]
        shares = mix.weights[rows][:, terms]
        there = [[code in active[row] for code in terms] for row in rows]
        if not all(map(all, there)):  # the others have neither a share nor a gradient
            shares = shares * torch.tensor(there)
        outs = edges_from(plan, x, weights, shares, shared, parameters)
        for row, out in zip(rows, outs, strict=True):
            yield row, reduce(torch.add, others[row], out)

    def _active(self, row: int, mix: Mix) -> list[int]:
        """Return the operations of an edge that are to be computed and are not `none`."""
        codes = [code for code in mix.active(row) if code in self.codes[row]]
        names = {code: self.operations[code] for code in codes}
        return [
            code
            for code in codes
            if names[code] not in self.shared or not isinstance(self.shared[names[code]], Zero)
        ]

    def _compiles(self, x: Tensor) -> bool:
        """Whether the kernel runs; raises `InputError` where it is asked for and cannot."""
        if self.backend == "torch" or not self._has_branches or self.drops:
            return False
        if not is_usable(x, x.shape[1]):
            if self.backend == "auto":
                return False
            raise InputError(
                f"backend 'compiled' cannot run on {x.dtype} of {x.shape[1]} channels on "
                f"{x.device.type}; accepted: float32, multiples of 8 channels, on the CPU"
            )
        try:
            load(x.shape[1])
        except Unavailable as error:
            if self.backend == "auto":
                return False
            raise InputError(f"backend 'compiled': {error}; accepted here: 'torch'") from None
        return True

    def own(self, row: int, code: int) -> tuple[nn.Module, ...]:
        """Return the module of an operation on an edge; () where there is none, or all share it."""
        modules = dict(self.edges.get_submodule(str(row)).named_children())
        name = self.operations[code]
        return (modules[name],) if name in modules else ()

    @property
    def drops(self) -> bool:
        """Whether operations are dropped at random in this mode."""
        return self.training and (self.drop_path > 0.0 or self.skip_dropout > 0.0)

    def _dropped(self, name: str, out: Tensor) -> Tensor:
        """Drop whole samples of an operation, or single values of an identity, if so set."""
        if not self.drops:
            return out
        if name in self.shared and isinstance(self.shared[name], nn.Identity):
            return F.dropout(out, self.skip_dropout)
        return drop_path(out, self.drop_path)


def _folds(module: nn.Module) -> TypeGuard[ReLUConvBN | DepthwisePointwise | SeparableConv]:
    """Whether an operation takes ReLU(x), and its last normalisation the edge's weight."""
    if isinstance(module, SeparableConv):
        return _folds(module.second)
    return (
        isinstance(module, (ReLUConvBN, DepthwisePointwise))
        and not module.norm.affine
        and not module.norm.track_running_stats
    )


def _is_shared(module: nn.Module) -> bool:
    """Whether all edges from a node may use one result of this operation."""
    return not list(module.parameters()) and not isinstance(module, Noise)


class PartialChannels:
    """Of C channels the first C / K go through mixed edges, the rest pass them by.

    Xu et al., "PC-DARTS", ICLR 2020: the rest is max-pooled where edges have stride 2, and after
    the sum of a node's edges channel g (C / K) + i moves to place i K + g. With K = 1 nothing
    passes by. Raises `InputError` where K does not divide C.
    """

    def __init__(self, channels: int, parts: int, stride: int = 1) -> None:
        if channels % parts:
            raise InputError(
                f"a mixed edge of {channels} channels is to use 1/{parts} of them; "
                f"accepted: a divisor of {channels}"
            )
        self.parts, self.stride = parts, stride
        self.channels = channels // parts

    def split(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """[B, C, H, W] -> [B, C / K, H, W], and the rest at the size of the edges' outputs."""
        if self.parts == 1:
            return x, None
        rest = x[:, self.channels :]
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, 2, ceil_mode=True)
        return x[:, : self.channels], rest


class NodeSums:
    """Adds up what edges bring to the nodes of a cell; a node without edges stays zero."""

    def __init__(self, mix: Mix, parts: int) -> None:
        self.mix, self.parts = mix, parts
        self._sums: dict[int, Tensor] = {}
        self._rests: dict[int, Tensor] = {}

    def collect(
        self, edges: MixedEdges, x: Tensor, part: PartialChannels, target: Callable[[int], int]
    ) -> None:
        """Send a node's value x [B, C, H, W] along its edges; `target` is the node of a row."""
        active, rest = part.split(x)
        for row, term in edges(active, self.mix):
            _add(self._sums, target(row), term)
        if rest is not None:
            for row in filter(self.mix.active, edges.rows):  # an edge that is not there brings none
                share = rest if self.mix.edges is None else self.mix.edges[row] * rest
                _add(self._rests, target(row), share)

    def get(self, node: int, zeros: Tensor) -> Tensor:
        """Return the node [B, C, H, W]; `zeros` is its value without edges."""
        total = self._sums.get(node)
        if self.parts == 1:
            return zeros if total is None else total
        width = zeros.shape[1] // self.parts
        joined = torch.cat(
            [
                zeros[:, :width] if total is None else total,
                self._rests.get(node, zeros[:, width:]),
            ],
            dim=1,
        )
        return F.channel_shuffle(joined, self.parts)


def _add(sums: dict[int, Tensor], node: int, term: Tensor) -> None:
    sums[node] = sums[node] + term if node in sums else term


def recomputed(compute: Callable[..., Tensor], *args: Any) -> Tensor:
    """Return `compute(*args)`, keeping nothing of it for the backward pass but the arguments."""
    out: Tensor = checkpoint(compute, *args, use_reentrant=False)
    return out
