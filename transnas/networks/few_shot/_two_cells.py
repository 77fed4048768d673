"""What the supernet and the decoded networks share: stem, two cells, pooling, linear layer.

Lian et al., "Towards Fast Adaptation of Neural Architectures with Meta Learning" (T-NAS), ICLR
2020: one normal cell of C channels and one reduction cell of 2 C, both of the DARTS space.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.nn import functional as F

from transnas._errors import InputError
from transnas.networks._kernel import Unavailable, load
from transnas.networks._registry import positive
from transnas.networks._source_major import is_usable
from transnas.networks.few_shot._functional import Norm, Params, conv, joined, linear
from transnas.networks.few_shot._network import HEAD, FewShotNetwork
from transnas.spaces.darts import NODES
from transnas.tasks import Signature

__all__ = ["CELLS", "EDGES", "TwoCells"]

CELLS = (("normal", 1), ("reduce", 2))
"""Kind and stride of the two cells; the second has twice the channels."""
EDGES = tuple((source, node) for node in range(2, NODES + 2) for source in range(node))
"""Source and target of each mixed edge of a cell, in the order of the logits' rows."""
_TWO_POOLINGS, _ONE_POOLING = 64, 24
"""Least side of images whose stem pools twice, and once."""


class TwoCells(FewShotNetwork):
    """Stem (two convolutions), normal cell, reduction cell, mean over the map, linear layer.

    The published stem pools twice, for images of 84 pixels; by default, from 24 to 63 pixels only
    the first pooling is kept, below that none (our choice: the publication has one image size).
    """

    affine: bool
    """Whether the cells' normalisations have scale and shift."""

    def __init__(
        self, signature: Signature, channels: int = 16, poolings: int | None = None
    ) -> None:
        """`poolings`: how often the stem halves the map, 0 to 2; None: by the images' size."""
        super().__init__(signature)
        positive("channels", channels)
        if channels % 2:
            raise InputError(f"channels {channels} is not accepted; accepted: even numbers")
        self.channels = channels
        side = min(signature.input_shape[1:])
        by_size = (side >= _ONE_POOLING) + (side >= _TWO_POOLINGS)
        self.poolings = by_size if poolings is None else poolings
        if self.poolings not in (0, 1, 2):
            raise InputError(f"poolings {poolings!r} is not accepted; accepted: 0, 1 and 2")
        stem = signature.input_shape[0], 3 * channels // 2, 3 * channels
        for i in (0, 1):
            self.shapes[f"stem.{i}.weight"] = (stem[i + 1], stem[i], 3, 3)
            self._affine(f"stem.{i}.norm", stem[i + 1])
        widths = stem[2], stem[2]
        for i in range(len(CELLS)):
            inner = channels * (1 + i)
            for name, width in zip(("older", "newer"), widths, strict=True):
                self.shapes[f"cells.{i}.{name}.weight"] = (inner, width, 1, 1)
                if self.affine:
                    self._affine(f"cells.{i}.{name}.norm", inner)
            self._cell(i, inner)
            widths = widths[1], NODES * inner
        self._linear(widths[1])

    @property
    def structure(self) -> str:
        """See `FewShotNetwork.structure`."""
        return f"{super().structure}, poolings {self.poolings}"

    def fuses(self, x: Tensor) -> bool:
        """Whether the compiled kernel can compute the cells' convolutions of maps like x."""
        if not is_usable(x, self.channels):
            return False
        try:
            load(self.channels)
        except Unavailable:  # said once, in the log
            return False
        return True

    @abstractmethod
    def _cell(self, index: int, channels: int) -> None:
        """Enter the shapes of the operations of cell `index`."""

    @abstractmethod
    def _nodes(self, params: Params, index: int, states: list[Tensor], norm: Norm) -> list[Tensor]:
        """Return the four nodes of cell `index` from its two inputs, [n, B C, H, W] each."""

    def forward(self, params: Params, x: Tensor, norm: Norm) -> Tensor:
        """See `FewShotNetwork.forward`."""
        tasks = len(params[f"{HEAD}bias"])
        for i in (0, 1):
            x = conv(x, params[f"stem.{i}.weight"], padding=1)
            x = norm(f"stem.{i}.norm", x, *self._scaling(params, f"stem.{i}.norm"))
            x = F.max_pool2d(x, 2) if i < self.poolings else x
            x = F.relu(x) if i == 0 else x
        older = newer = x
        for i in range(len(CELLS)):
            states = [
                self._input(params, f"cells.{i}.older", older, norm),
                self._input(params, f"cells.{i}.newer", newer, norm),
            ]
            nodes = self._nodes(params, i, states, norm)
            older, newer = newer, joined(nodes, tasks)
        return linear(newer.mean(dim=(2, 3)), params[f"{HEAD}weight"], params[f"{HEAD}bias"])

    def _input(self, params: Params, name: str, x: Tensor, norm: Norm) -> Tensor:
        """Bring an input of a cell to its channels: ReLU, convolution 1x1, normalisation."""
        out = conv(F.relu(x), params[f"{name}.weight"])
        return norm(f"{name}.norm", out, *self._scaling(params, f"{name}.norm"))

    @staticmethod
    def _scaling(params: Params, name: str) -> tuple[Tensor | None, Tensor | None]:
        """Return scale and shift of a normalisation, where it has them."""
        return params.get(f"{name}.scale"), params.get(f"{name}.shift")
