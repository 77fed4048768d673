"""What a call of the compiled kernel computes, and the table of addresses that it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from torch import Tensor

__all__ = ["Branch", "Plan", "Table"]

_NUMBERS, _PARAMETERS, _KEPT, _FLOAT = 5, 4, 6, 4
_ADDRESSES = 2 * _PARAMETERS + _KEPT


@dataclass(frozen=True, slots=True)
class Branch:
    """An operation of one edge: its convolutions, and how often it is applied."""

    task: int
    edge: int
    kernel: int
    dilation: int
    units: int
    stride: int
    """Of the first; that of all branches of a call."""
    parameters: tuple[int, ...]
    """Which of the call's it has: depthwise and pointwise weights of each unit, and where it is
    affine also scale and shift of the unit's normalisation."""
    row: int = 0
    """Where it has them, if one parameter serves several branches."""
    affine: bool = False
    """Whether its normalisations have scale and shift."""

    def parts(self, unit: int) -> tuple[int, ...]:
        """Return the parameters of a unit."""
        size = 4 if self.affine else 2
        return self.parameters[size * unit : size * (unit + 1)]


@dataclass(frozen=True)
class Plan:
    """What a call of the kernel computes."""

    branches: tuple[Branch, ...]
    channels: int
    """Of each task."""
    tasks: int
    edges: int
    terms: int
    """Maps that all edges share."""
    stride: int

    @cached_property
    def units(self) -> int:
        """How often all branches apply a convolution."""
        return sum(branch.units for branch in self.branches)

    @cached_property
    def table(self) -> Table:
        """Where the kernel finds addresses."""
        return Table(self)


class Table:
    """The numbers and addresses that the kernel reads of each branch, as far as they are known.

    A row a branch: five numbers, then for each of two units the addresses of four parameters, of
    six results that are kept, and of four gradients.
    """

    def __init__(self, plan: Plan) -> None:
        self.channels = plan.channels
        self.start = np.zeros((len(plan.branches), _NUMBERS + 2 * _ADDRESSES), dtype=np.int64)
        units, places, numbers, offsets = [], [], [], []
        for row, (branch, own) in enumerate(zip(plan.branches, self.start, strict=True)):
            numbered = branch.task, branch.edge, branch.kernel, branch.dilation, branch.units
            own[:_NUMBERS] = numbered
            sizes = plan.channels * branch.kernel**2, plan.channels**2, plan.channels, plan.channels
            for k in range(branch.units):
                unit = row * len(own) + _NUMBERS + k * _ADDRESSES
                units.append(unit)
                for place, number in enumerate(branch.parts(k)):
                    places.append(unit + place)
                    numbers.append(number)
                    offsets.append(branch.row * sizes[place] * _FLOAT)
        self.units, self.places, self.numbers, self.offsets = (
            np.array(found, dtype=np.int64) for found in (units, places, numbers, offsets)
        )

    def filled(
        self,
        parameters: Sequence[Tensor],
        kept: Sequence[Tensor],
        gradients: Sequence[Tensor] = (),
    ) -> npt.NDArray[np.int64]:
        """Return the table with the addresses of one call.

        `kept` are a unit's results in one block each: two maps, then four times the channels.
        """
        found: npt.NDArray[np.int64] = self.start.copy()
        flat = found.reshape(-1)
        if len(self.units) == 0:
            return found
        flat[self.places] = _addresses(parameters)[self.numbers] + self.offsets
        if gradients:
            places = self.places + _PARAMETERS + _KEPT
            flat[places] = _addresses(gradients)[self.numbers] + self.offsets
        result = (kept[0].numel() - 4 * self.channels) // 2
        parts = np.array([0, result, *(2 * result + self.channels * np.arange(4))]) * _FLOAT
        flat[self.units[:, None] + _PARAMETERS + np.arange(_KEPT)] = (
            _addresses(kept)[:, None] + parts
        )
        return found


def _addresses(tensors: Sequence[Tensor]) -> npt.NDArray[np.int64]:
    return np.fromiter((t.data_ptr() for t in tensors), np.int64, len(tensors))
