"""Arrays in a strategy's state: as text, because numbers would be ten times as long."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["pack_array", "unpack_array"]


def pack_array(array: npt.NDArray[Any]) -> list[Any]:
    """Return an array's type, shape and bytes as JSON-able data."""
    text = base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")
    return [array.dtype.str, list(array.shape), text]


def unpack_array(data: list[Any]) -> npt.NDArray[Any]:
    """Inverse of `pack_array`; the array is read-only."""
    dtype, shape, text = data
    flat: npt.NDArray[Any] = np.frombuffer(base64.b64decode(text), dtype=np.dtype(dtype))
    return flat.reshape(tuple(map(int, shape)))
