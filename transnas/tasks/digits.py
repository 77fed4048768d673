"""`digits`: the 1,797 handwritten digits of 8x8 pixels that come with scikit-learn."""

from __future__ import annotations

import numpy as np

from transnas.tasks._assemble import Part, assemble
from transnas.tasks._base import DataTask
from transnas.tasks._registry import Options, Source, register

__all__ = ["load"]


def load(name: str, options: Options) -> DataTask:
    """Return the digits, split 60 / 20 / 20 within each class."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = pixels.reshape(-1, 1, 8, 8).astype(np.uint8)
    classes = tuple(str(digit) for digit in range(10))
    parts = {"all": Part(images, labels)}
    return assemble(name, parts, classes, options, "shift", scale=1 / 16)  # pixels are 0..16


register("digits", Source(lambda: ("digits",), load))
