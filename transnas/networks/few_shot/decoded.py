"""The network of one pair of DARTS cells, as T-NAS trains it after the search."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas.networks.few_shot._functional import Norm, Params, conv, depthwise
from transnas.networks.few_shot._reduce import factorized_reduce
from transnas.networks.few_shot._two_cells import CELLS, TwoCells
from transnas.spaces.darts import Genotype
from transnas.tasks import Signature

__all__ = ["DecodedNetwork"]


class DecodedNetwork(TwoCells):
    """Two cells with one operation an edge, two edges a node; normalisations have scale and shift.

    Neither auxiliary head nor drop path, no normalisation after pooling. With 16 channels on
    84x84 colour images the published Auto-MAML cells have 23,213 and 26,061 parameters.
    """

    affine = True

    def __init__(self, genotype: Genotype, signature: Signature, channels: int = 16) -> None:
        self.plans = [getattr(genotype, kind) for kind, _ in CELLS]
        super().__init__(signature, channels)

    def _edges(self, index: int) -> list[tuple[int, str, str, int]]:
        """Return source, operation, name and stride of each edge of cell `index`."""
        pairs = [pair for block in self.plans[index].blocks for pair in block.pairs]
        stride = CELLS[index][1]
        return [
            (state, op, f"cells.{index}.edges.{e}", stride if state < 2 else 1)
            for e, (state, op) in enumerate(pairs)
        ]

    def _cell(self, index: int, channels: int) -> None:
        for _, op, name, stride in self._edges(index):
            if op == "skip_connect" and stride == 2:
                for half in ("even", "odd"):
                    self.shapes[f"{name}.{half}.weight"] = (channels // 2, channels, 1, 1)
                self._affine(f"{name}.norm", channels)
            for part in _parts(op):
                kernel = int(op[-1])
                self.shapes[f"{name}.{part}.depthwise"] = (channels, 1, kernel, kernel)
                self.shapes[f"{name}.{part}.pointwise"] = (channels, channels, 1, 1)
                self._affine(f"{name}.{part}.norm", channels)

    def _nodes(self, params: Params, index: int, states: list[Tensor], norm: Norm) -> list[Tensor]:
        terms: list[Tensor] = []
        for state, op, name, stride in self._edges(index):
            while len(states) <= state:  # a node's two terms lie before its first reader
                node = len(states) - 2
                states.append(terms[2 * node] + terms[2 * node + 1])
            terms.append(self._operation(params, name, op, stride, states[state], norm))
        return [terms[2 * node] + terms[2 * node + 1] for node in range(len(terms) // 2)]

    def _operation(
        self, params: Params, name: str, op: str, stride: int, x: Tensor, norm: Norm
    ) -> Tensor:
        if op == "max_pool_3x3":
            return F.max_pool2d(x, 3, stride, 1)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        if op == "none":
            return torch.zeros_like(x[:, :, ::stride, ::stride])
        if op == "skip_connect" and stride == 1:
            return x
        if op == "skip_connect":
            weights = params[f"{name}.even.weight"], params[f"{name}.odd.weight"]
            out = factorized_reduce(F.relu(x), *weights)
            return norm(f"{name}.norm", out, *self._scaling(params, f"{name}.norm"))
        for part in _parts(op):
            kernel, dilation = params[f"{name}.{part}.depthwise"], 2 if op.startswith("dil") else 1
            x = depthwise(F.relu(x), kernel, stride, dilation)
            x = conv(x, params[f"{name}.{part}.pointwise"])
            x = norm(f"{name}.{part}.norm", x, *self._scaling(params, f"{name}.{part}.norm"))
            stride = 1
        return x


def _parts(op: str) -> tuple[str, ...]:
    """Return the convolutions that an operation applies one after the other."""
    return {"sep": ("first", "second"), "dil": ("first",)}.get(op[:3], ())
