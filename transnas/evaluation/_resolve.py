"""What evaluators that build networks check before they start."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from transnas import networks
from transnas.spaces import Space
from transnas.tasks import Signature

__all__ = ["resolve_skeleton"]


def resolve_skeleton(
    space: Space, signature: Signature, skeleton: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Return the skeleton to build with: the given one, else what suits inputs of this size.

    Raises `InputError` if no network can be built with it; nothing is allocated.
    """
    chosen = dict(networks.suggest(space, signature) if skeleton is None else skeleton)
    with torch.device("meta"):
        networks.build(space, space.sample(np.random.default_rng(0)), signature, **chosen)
    return chosen
