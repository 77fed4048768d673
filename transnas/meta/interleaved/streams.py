"""Seeds that keep the streams of tasks apart, and single inputs of a split."""

from __future__ import annotations

import hashlib
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset, default_collate

from transnas.tasks._tensors import Batched

__all__ = ["fetch", "stream_seed"]


def stream_seed(seed: int, *names: str) -> int:
    """Return the seed of what `names` name: streams do not depend on the order of tasks."""
    text = "\0".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big") >> 1


def fetch(split: Dataset[Any], indices: Tensor) -> Tensor:
    """Return the inputs [B, C, H, W] at `indices`, not augmented, on the CPU."""
    if isinstance(split, Batched):
        return split.batch(indices)[0].cpu()
    images: Tensor = default_collate([split[int(i)][0] for i in indices])
    return images.float()
