"""Images of any size brought to one, with what is drawn on them; in memory or read when needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from transnas.tasks._base import IGNORED
from transnas.tasks._split import Array

__all__ = ["IGNORED", "Frame", "Lazy", "Stack", "chained", "frame_of", "stacked"]

_SIDE = 320
"""Longest side of the frame where nothing else is said."""
_MEMORY = 2 * 2**30
"""Bytes up to which images are kept in memory; more are read from their files, batch by batch."""


@dataclass(frozen=True, slots=True)
class Frame:
    """The one size of a task's images; another size is scaled by one factor to fit.

    What is left over at the right and below stays black (in masks: ignored).
    """

    height: int
    width: int

    def scale(self, height: int, width: int) -> float:
        """Return the factor for an image of this size."""
        return min(self.height / height, self.width / width)

    def image(self, picture: Image.Image) -> Array:
        """Return the picture in the frame, uint8 [3, height, width]."""
        colours = np.asarray(self._fitted(picture.convert("RGB"), Image.Resampling.BILINEAR))
        framed = np.zeros((3, self.height, self.width), dtype=np.uint8)
        framed[:, : colours.shape[0], : colours.shape[1]] = colours.transpose(2, 0, 1)
        return framed

    def mask(self, mask: npt.NDArray[np.uint8]) -> Array:
        """Return a mask of classes [H, W] in the frame, uint8 [height, width]."""
        classes = np.asarray(self._fitted(Image.fromarray(mask), Image.Resampling.NEAREST))
        framed = np.full((self.height, self.width), IGNORED, dtype=np.uint8)
        framed[: classes.shape[0], : classes.shape[1]] = classes
        return framed

    def _fitted(self, picture: Image.Image, resampling: Image.Resampling) -> Image.Image:
        factor = self.scale(picture.height, picture.width)
        width = min(self.width, max(1, round(picture.width * factor)))
        height = min(self.height, max(1, round(picture.height * factor)))
        if (width, height) == picture.size:
            return picture
        return picture.resize((width, height), resampling)


def frame_of(sizes: Sequence[tuple[int, int]], side: int | None) -> Frame:
    """Return the frame for images of these (height, width): their shape if it is one, else square.

    Its longest side is `side`; None: 320, or that of the largest image if it is smaller.
    """
    longest = side or min(_SIDE, max(map(max, sizes)))
    ratios = [width / height for height, width in sizes]
    if max(ratios) > 1.02 * min(ratios):
        return Frame(longest, longest)
    factor = longest / max(sizes[0])
    return Frame(max(1, round(sizes[0][0] * factor)), max(1, round(sizes[0][1] * factor)))


@dataclass(frozen=True)
class Lazy:
    """Arrays that are read when they are asked for, `read(item)` each, all of one `shape`.

    Stands for the uint8 tensor [N, *shape] where that is too large for memory.
    """

    items: tuple[Any, ...]
    read: Callable[[Any], Array]
    each: tuple[int, ...]
    device: str = "cpu"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor that it stands for."""
        return (len(self.items), *self.each)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, indices: Tensor) -> Tensor:
        chosen = [self.items[i] for i in indices.tolist()]
        with ThreadPoolExecutor(max_workers=4) as pool:  # Pillow decodes outside Python's lock
            found = list(pool.map(self.read, chosen))
        return torch.from_numpy(np.stack(found)).to(self.device)

    def to(self, device: torch.device | str) -> Lazy:
        """Return the same with what is read going to `device`."""
        return replace(self, device=str(device))


@dataclass(frozen=True)
class Chained:
    """Two stacks one after the other, of which one is read when it is asked for."""

    first: Stack
    second: Stack

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor that it stands for."""
        return (len(self), *self.first.shape[1:])

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def __getitem__(self, indices: Tensor) -> Tensor:
        behind = indices >= len(self.first)
        asked = (
            (self.first, indices[~behind]),
            (self.second, indices[behind] - len(self.first)),
        )
        found = torch.cat([stack[chosen] for stack, chosen in asked if len(chosen)])
        order = torch.argsort(behind, stable=True)  # place in `indices` of each that was found
        return found[torch.argsort(order)]

    def to(self, device: torch.device | str) -> Chained:
        """Return the same on `device`."""
        return Chained(self.first.to(device), self.second.to(device))


Stack = Tensor | Lazy | Chained
"""uint8 [N, ...]"""


def chained(first: Stack, second: Stack) -> Stack:
    """Return both, one after the other; in memory where both are."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second])
    return Chained(first, second)


def stacked(
    items: Sequence[Any], read: Callable[[Any], Array], each: tuple[int, ...], memory: int = _MEMORY
) -> Stack:
    """Return what `read` makes of all items: read now if that fits into `memory` bytes."""
    lazy = Lazy(tuple(items), read, each)
    if len(items) * int(np.prod(each)) > memory:
        return lazy
    return lazy[torch.arange(len(items))]
