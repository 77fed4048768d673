"""Random numbers by counter: the n-th draw is a hash of (seed, n).

A stream's whole state is one integer, and the draws of many seeds are one numpy expression, so
that replicates run together equal the sequential strategy draw for draw. `mix` and `permuted`
take Python integers and uint64 arrays alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from typing import Any, overload

import numpy as np
import numpy.typing as npt

__all__ = [
    "Stream",
    "UInts",
    "draw_below",
    "draw_bits",
    "draw_uniform",
    "keys",
    "mix",
    "permuted",
]

_GOLDEN = 0x9E3779B97F4A7C15
_ODD = 0xD1B54A32D192ED03
_MASK = (1 << 64) - 1
_ROUNDS = 6

UInts = npt.NDArray[np.uint64]


@overload
def mix(z: int) -> int: ...
@overload
def mix(z: UInts) -> UInts: ...
def mix(z: Any) -> Any:
    """Return the finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014) of a 64-bit word."""
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class Stream:
    """The draws of one seed; `position` is the number of draws so far, and all of its state."""

    __slots__ = ("key", "position")

    def __init__(self, seed: int, position: int = 0) -> None:
        self.key = _key(seed)
        self.position = position

    def bits(self) -> int:
        """Draw 64 random bits."""
        self.position += 1
        return mix((self.key + self.position * _GOLDEN) & _MASK)

    def below(self, n: int) -> int:
        """Draw an integer uniformly from 0..n-1 (any n; the bias is below 2^-32)."""
        if n <= 1 << 32:
            return (self.bits() >> 32) * n >> 32
        words = n.bit_length() // 64 + 2
        value = 0
        for _ in range(words):
            value = value << 64 | self.bits()
        return value * n >> 64 * words

    def uniform(self) -> float:
        """Draw a float uniformly from [0, 1)."""
        return (self.bits() >> 11) * 2.0**-53

    def generator(self) -> np.random.Generator:
        """Draw a numpy generator, for what takes one; consumes one draw."""
        return np.random.Generator(np.random.PCG64(self.bits()))


def keys(seeds: Sequence[int]) -> UInts:
    """Return the stream keys of many seeds, [len(seeds)]."""
    return np.array([_key(seed) for seed in seeds], dtype=np.uint64)


def draw_bits(keys: UInts, positions: npt.NDArray[np.int64]) -> UInts:
    """Return what `Stream.bits` gives as draw number `positions` + 1 of each key; broadcasts."""
    counters: UInts = positions.astype(np.uint64) + np.uint64(1)
    words: UInts = keys + counters * np.uint64(_GOLDEN)
    return mix(words)


def draw_below(
    keys: UInts, positions: npt.NDArray[np.int64], n: int | npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Vectorised `Stream.below` for n <= 2^32; `n` broadcasts."""
    bound: UInts = np.asarray(n).astype(np.uint64)
    scaled = (draw_bits(keys, positions) >> np.uint64(32)) * bound
    result: npt.NDArray[np.int64] = (scaled >> np.uint64(32)).astype(np.int64)
    return result


def draw_uniform(keys: UInts, positions: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Vectorised `Stream.uniform`."""
    top = draw_bits(keys, positions) >> np.uint64(11)
    result: npt.NDArray[np.float64] = top.astype(np.float64) * 2.0**-53
    return result


@overload
def permuted(key: int, position: int, n: int) -> int: ...
@overload
def permuted(key: UInts, position: UInts, n: int) -> UInts: ...
def permuted(key: Any, position: Any, n: int) -> Any:
    """Return where a pseudo-random permutation of 0..n-1, n < 2^64, sends `position`.

    A Feistel network on the grid a x b >= n, walked again where it leaves 0..n-1 (Black &
    Rogaway, "Ciphers with Arbitrary Finite Domains", CT-RSA 2002). No table, no state: the
    whole random order of any space is this function.
    """
    result = _feistel(key, position, n)
    if isinstance(result, int):
        while result >= n:
            result = _feistel(key, result, n)
        return result
    outside = result >= n
    while outside.any():
        result = np.where(outside, _feistel(key, result, n), result)
        outside = result >= n
    return result


def _feistel(key: Any, position: Any, n: int) -> Any:
    a = isqrt(n - 1) + 1
    b = -(-n // a)
    left, right = position // b, position % b
    for r in range(_ROUNDS):
        if r % 2:
            right = (right + _round(key, r, left)) % b
        else:
            left = (left + _round(key, r, right)) % a
    return left * b + right


def _round(key: Any, r: int, half: Any) -> Any:
    # The key of the order is another hash of the stream's key: its rounds repeat no draw.
    salt = (r + 1) * _ODD & _MASK
    return mix(mix((key + salt) & _MASK) ^ ((half * _GOLDEN) & _MASK)) >> 16


def _key(seed: int) -> int:
    return mix((seed * _ODD + _GOLDEN) & _MASK)
