"""Every registered space, and small ones made to be difficult, under the common contract."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from transnas import InputError, spaces
from transnas.spaces import Choice, Range, Space
from transnas.testing.spaces import SpaceContract


class Tower(Space):
    """A masked space of variable depth: absent layers are `-`, no two equal in a row."""

    name = "tower"
    choices = (
        Choice("depth", ("1", "2", "3", "4")),
        *(Choice(f"layer {i}", ("-", "conv", "pool")) for i in range(4)),
    )

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        if not prefix:
            return np.ones(4, dtype=np.bool_)
        if len(prefix) - 1 > prefix[0]:
            return np.array([True, False, False])
        before = prefix[-1] if len(prefix) > 1 else 0
        return np.array([False, before != 1, before != 2])

    def neighbours(self, arch):  # type: ignore[no-untyped-def]
        # One edit seldom leaves a valid tower, so towers that differ anywhere are neighbours here.
        return [a for a in self.architectures() if a != arch]


class Tuned(Space):
    """Two choices beside two numbers."""

    name = "tuned"
    choices = (Choice("op", ("a", "b")), Choice("width", ("8", "16", "32")))
    ranges = (Range("learning rate", 1e-4, 1.0, log=True), Range("momentum", 0.0, 1.0))


class TestRegistered(SpaceContract):
    @pytest.fixture(params=spaces.names())
    def space(self, request: pytest.FixtureRequest) -> Space:
        return spaces.get(request.param)


class TestMadeUp(SpaceContract):
    @pytest.fixture(params=[Tower, Tuned])
    def space(self, request: pytest.FixtureRequest) -> Space:
        made: Space = request.param()
        return made


@pytest.mark.parametrize("log", [False, True])
def test_the_ends_of_a_range_lie_in_it(log: bool) -> None:
    ends = np.random.default_rng(0).uniform(1e-6, 1.0, (500, 2))
    for low, high in np.sort(ends).tolist():
        span = Range("x", low, high, log)
        assert low <= span.from_unit(0.0) < span.from_unit(0.5) < span.from_unit(1.0) <= high


def test_a_name_that_is_given_twice_is_refused() -> None:
    with pytest.raises(InputError, match="'blocks' is given twice"):
        spaces.get("fractal").from_text("blocks=2,columns=3,blocks=5")


def test_numbers_are_drawn_log_uniformly_and_checked() -> None:
    space = Tuned()
    rng = np.random.default_rng(0)
    rates = np.array([space.sample(rng).numbers[0] for _ in range(2000)])
    # Uniform in log10 over four decades: a quarter of the draws lies in each.
    share = np.histogram(np.log10(rates), bins=[-4, -3, -2, -1, 0])[0] / 2000
    assert np.abs(share - 0.25).max() < 0.05
    with pytest.raises(InputError):
        space.architecture((0, 0), (2.0, 0.5))
