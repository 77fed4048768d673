"""The counter-based random numbers: uniform, independent, and the same one by one or together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from transnas.spaces import get
from transnas.strategies import Exhausted, Stream
from transnas.strategies._draws import Shuffled, mutate, sample
from transnas.strategies._stream import draw_below, draw_bits, draw_uniform, keys, permuted
from transnas.testing.strategies import Tiny, VariableDepth

SEEDS = [0, 1, 7, 2**32, 2**70, -3]


def test_draws_of_many_seeds_equal_those_of_each() -> None:
    positions = np.arange(20)[None, :]
    key = keys(SEEDS)[:, None]
    for vectorised, one in (
        (draw_bits(key, positions), Stream.bits),
        (draw_below(key, positions, 24), lambda s: s.below(24)),
        (draw_uniform(key, positions), Stream.uniform),
    ):
        streams = [Stream(seed) for seed in SEEDS]
        assert vectorised.tolist() == [[one(s) for _ in range(20)] for s in streams]


def test_a_position_is_the_whole_state() -> None:
    stream = Stream(5)
    first = [stream.bits() for _ in range(10)]
    assert [Stream(5, i).bits() for i in range(10)] == first


@pytest.mark.parametrize("n", [2, 5, 24, 15_625])
def test_integers_are_uniform(n: int) -> None:
    draws = draw_below(keys(range(40)), np.arange(1000)[:, None], n).ravel()
    cells = np.bincount(draws * min(n, 100) // n)
    assert stats.chisquare(cells).pvalue > 1e-3


def test_first_draws_of_neighbouring_seeds_are_uniform_and_uncorrelated() -> None:
    draws = draw_uniform(keys(range(20_000)), np.zeros(1, dtype=np.int64))
    assert stats.kstest(draws, "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(draws[:-1], draws[1:])[0, 1]) < 0.03


def test_integers_beyond_64_bits() -> None:
    n = 3**60
    draws = [Stream(seed).below(n) / n for seed in range(2000)]
    assert stats.kstest(draws, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 16, 97, 1000])
def test_the_order_is_a_permutation(n: int) -> None:
    for seed in range(20):
        key = Stream(seed).key
        assert sorted(permuted(key, t, n) for t in range(n)) == list(range(n))
    positions = np.arange(n, dtype=np.uint64)[None, :]
    together = permuted(keys(SEEDS)[:, None], positions, n)
    assert together.tolist() == [
        [permuted(Stream(seed).key, t, n) for t in range(n)] for seed in SEEDS
    ]


def test_all_orders_of_three_are_about_equally_likely() -> None:
    together = permuted(keys(range(6000))[:, None], np.arange(3, dtype=np.uint64)[None, :], 3)
    orders, counts = np.unique(together, axis=0, return_counts=True)
    assert len(orders) == 6
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("t", [0, 1, 49, 15_624])
def test_every_position_of_the_order_is_uniform(t: int) -> None:
    positions = np.full((1, 1), t, dtype=np.uint64)
    together = permuted(keys(range(20_000))[:, None], positions, 15_625)
    assert stats.chisquare(np.bincount(together.ravel().astype(int) // 125)).pvalue > 1e-3


def test_samples_are_uniform_over_valid_sequences() -> None:
    space, stream = VariableDepth(), Stream(0)
    counts = np.bincount([space.index(sample(space, stream)) for _ in range(2_420)])
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("space", [get("nasbench201"), VariableDepth(), Tiny()])
def test_mutants_are_uniform_over_neighbours(space) -> None:  # type: ignore[no-untyped-def]
    stream = Stream(0)
    arch = space.at(space.size // 3)
    options = space.neighbours(arch)
    drawn = [options.index(mutate(space, arch, stream)) for _ in range(2400)]
    assert stats.chisquare(np.bincount(drawn, minlength=len(options))).pvalue > 1e-3


def test_a_shuffled_space_is_complete_and_skips_what_was_seen() -> None:
    space = VariableDepth()
    seen = {space.at(3), space.at(100)}
    order = Shuffled(space, seed=4)
    found = [order.next(seen) for _ in range(space.size - len(seen))]
    assert set(found) == set(space.architectures()) - seen
    with pytest.raises(Exhausted, match="all 121 architectures"):
        order.next(seen)
