"""Every registered space, and small ones made to be difficult, under the common contract."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import erf

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


def test_half_of_the_mutants_of_a_space_with_ranges_move_one_number() -> None:
    space, rng = Tuned(), np.random.default_rng(0)
    arch = space.architecture((0, 1), (1e-2, 0.04))  # the middle of a log range, and near an end
    children = [space.mutate(arch, rng) for _ in range(4000)]
    moved = [c for c in children if c.values == arch.values]
    assert abs(len(moved) / 4000 - 0.5) < 0.03
    both = [sum(a != b for a, b in zip(c.numbers, arch.numbers, strict=True)) for c in moved]
    assert set(both) == {1}
    steps = np.array([c.numbers[0] for c in moved if c.numbers[1] == 0.04])
    assert abs(len(steps) / len(moved) - 0.5) < 0.05
    # A step is a normal draw of a tenth of the range: of 0.4 decades here.
    assert np.log10(steps / 1e-2).std() == pytest.approx(0.4, rel=0.1)
    # Beyond the end it is reflected: |0.04 + 0.1 z|, which has this mean.
    shares = np.array([c.numbers[1] for c in moved if c.numbers[0] == 1e-2])
    mean = 0.1 * (2 / np.pi) ** 0.5 * np.exp(-0.08) + 0.04 * erf(0.4 / 2**0.5)
    assert shares.mean() == pytest.approx(mean, rel=0.08)
    high = space.architecture((0, 1), (1e-2, 0.96))
    others = np.array([space.mutate(high, rng).numbers[1] for _ in range(4000)])
    others = others[others != 0.96]
    assert 1 - others.mean() == pytest.approx(mean, rel=0.08)


def test_numbers_are_encoded_in_their_log_ranges() -> None:
    space = Tuned()
    codes = space.encode([space.architecture((1, 2), (1e-3, 0.25))])
    assert codes[0].tolist() == pytest.approx([0, 1, 0, 0, 1, 0.25, 0.25])
