"""The toy space and its tasks as fixtures."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from interleaved_toys import NAME, ToySpace, ToySupernet, build_toy, stripes

from transnas.networks import register, register_supernet
from transnas.networks._registry import _BUILDERS
from transnas.networks._supernet import _SUPERNETS
from transnas.spaces import Space
from transnas.tasks import DataTask


@pytest.fixture
def space() -> Iterator[Space]:
    """The toy space, registered while the test runs."""
    register_supernet(NAME)(ToySupernet)
    register(NAME)(build_toy)
    yield ToySpace()
    _SUPERNETS._things.pop(NAME)
    _BUILDERS._things.pop(NAME)


@pytest.fixture
def tasks() -> list[DataTask]:
    """Three relatives; the last has colours and larger images."""
    return [
        stripes("a", seed=1),
        stripes("b", seed=2),
        stripes("c", channels=3, side=12, seed=3),
    ]
