"""The pixels of a map by the parity of their row and column."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["joined_quarters", "quarters"]


def quarters(x: Tensor) -> Tensor:
    """[n, C, H, W] -> [4 n, C, H / 2, W / 2] in the format of x; odd sizes get zeros at the end.

    Images of even rows and columns come first, those of odd ones last. Unlike that of slices, the
    gradient keeps the memory format.
    """
    if x.shape[2] % 2 or x.shape[3] % 2:
        x = F.pad(x, (0, x.shape[3] % 2, 0, x.shape[2] % 2))
    n, channels, height, width = x.shape
    if x.stride(1) == 1:
        rows = x.permute(0, 2, 3, 1).reshape(n, height // 2, 2, width // 2, 2, channels)
        return rows.permute(2, 4, 0, 1, 3, 5).flatten(0, 2).permute(0, 3, 1, 2)
    split = x.reshape(n, channels, height // 2, 2, width // 2, 2)
    return split.permute(3, 5, 0, 1, 2, 4).flatten(0, 2)


def joined_quarters(parts: Tensor, height: int, width: int) -> Tensor:
    """Undo `quarters` for maps of so many rows and columns."""
    channels, rows, columns = parts.shape[1:]
    n = len(parts) // 4
    if parts.stride(1) == 1:
        split = parts.permute(0, 2, 3, 1).reshape(2, 2, n, rows, columns, channels)
        whole = split.permute(2, 3, 0, 4, 1, 5).flatten(3, 4).flatten(1, 2).permute(0, 3, 1, 2)
    else:
        split = parts.reshape(2, 2, n, channels, rows, columns)
        whole = split.permute(2, 3, 4, 0, 5, 1).flatten(4, 5).flatten(2, 3)
    return whole[:, :, :height, :width]
