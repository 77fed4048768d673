"""Every registered supernet goes through the contract."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch

from transnas import networks, spaces
from transnas.networks import Form, Supernet
from transnas.networks.relaxations import Softmax
from transnas.spaces import Architecture
from transnas.tasks import Signature
from transnas.testing.supernets import SupernetContract

torch.set_num_threads(1)
IMAGES, TOKENS = Signature((3, 9, 7), 5), Signature((5,), 11, "language")
DARTS = {"channels": 4, "layers": 3}
NASNET = {"filters": 2, "cells": 1, "stem_channels": 3}
SMALL: dict[str, dict[str, Any]] = {
    "darts": DARTS,
    "darts-none": DARTS,
    "darts-s2": DARTS,
    "darts-s3": DARTS,
    "darts-s4": DARTS,
    "darts-recurrent": {"hidden": 6},
    "enas-macro": {"channels": 4},
    "enas-micro": {"channels": 2, "layers": 3},
    "enas-recurrent": {"hidden": 6},
    "nasbench201": {"channels": 4, "cells": 1},
    "nasnet": NASNET,
    "pnas": NASNET,
    "proxyless": {
        "stem": 4,
        "first": 4,
        "widths": (4, 4, 6, 6, 8, 8),
        "last": 8,
        "stem_stride": 1,
        "strides": (1, 2, 1, 1, 2, 1),
    },
}
"""Skeletons; a space without entry is tested with its own defaults."""


SLOW = ("nasnet", "pnas", "darts-none", "darts-s2", "darts-s3", "enas-micro")
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in networks.supernets()
]


@functools.cache
def template(name: str, form: Form) -> Supernet:
    """Return the small supernet of a space; building some takes longer than copying them."""
    signature = TOKENS if name.endswith("recurrent") else IMAGES
    return networks.supernet(spaces.get(name), signature, Softmax(), form, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
class TestSupernets(SupernetContract):
    @pytest.fixture
    def make(self, name: str) -> Callable[[Form], Supernet]:
        return lambda form: copy.deepcopy(template(name, form))

    def samples(self, net: Supernet) -> list[Architecture]:
        """With at most one noise: which is drawn first is not part of the contract."""
        found = super().samples(net)
        if net.space.name != "darts-s4":
            return found
        quiet = []
        for arch, edge in zip(found, (None, 2, 19), strict=True):
            values = [
                int("noise" in choice.values) or value
                for choice, value in zip(net.space.choices, arch.values, strict=True)
            ]
            if edge is not None:
                values[edge] = 0
            quiet.append(net.space.architecture(values))
        return quiet
