"""Provided colour sets: JPEG mosaics of one class each, many images to a file."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

from transnas._errors import InputError
from transnas.tasks._split import Array

__all__ = ["tiles"]


def tiles(arrays: Mapping[str, Array], side: int, keep: int, name: str) -> list[Array]:
    """Return each mosaic's images, uint8 [n, 3, keep, keep].

    `arrays` hold `jpeg_blob`, `offsets` and `mosaic_n`; tiles are `side` pixels wide, row by row,
    and the top left `keep` pixels are the image. Raises `InputError` if a mosaic is damaged.
    """
    blob, offsets = arrays["jpeg_blob"], arrays["offsets"].astype(np.int64).tolist()
    found = []
    for i, count in enumerate(arrays["mosaic_n"].astype(np.int64).tolist()):
        data = blob[offsets[i] : offsets[i + 1]].tobytes()
        try:
            with Image.open(io.BytesIO(data)) as image:
                mosaic = np.asarray(image.convert("RGB"))
            rows, columns = mosaic.shape[0] // side, mosaic.shape[1] // side
            cut = mosaic.reshape(rows, side, columns, side, 3).transpose(0, 2, 4, 1, 3)
            found.append(cut.reshape(-1, 3, side, side)[:count, :, :keep, :keep])
        except Exception as error:  # damaged data fail in many ways, all of them bad input
            raise InputError(
                f"mosaic {i} of {name} is not readable ({error}); accepted: an undamaged file"
            ) from error
    return found
