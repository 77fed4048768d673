"""How strategies draw from a space with a `Stream`: fresh points, mutants, a random order.

A space that brings its own `sample` or `mutate` law is asked for it; for the others the laws of
`Space` (uniform over valid sequences, uniform over `neighbours`) are drawn by number, which is
fast and which replicates can do for many seeds at once.
"""

from __future__ import annotations

from copy import copy
from typing import Any, overload

import numpy as np

from transnas.spaces import Architecture, Space
from transnas.strategies._base import Exhausted
from transnas.strategies._stream import Stream, UInts, mix, permuted

__all__ = [
    "Shuffled",
    "crossed",
    "free_choices",
    "listable",
    "moves_by_number",
    "mutate",
    "order_key",
    "pack",
    "packed",
    "sample",
    "unpack",
    "without_ranges",
]

_LARGEST = 1 << 62
_PATIENCE = 10_000


def listable(space: Space) -> bool:
    """Return whether drawing uniformly is drawing an index of `space`."""
    uniform = type(space).sample is Space.sample
    return uniform and not space.ranges and space.size < _LARGEST


def moves_by_number(space: Space) -> bool:
    """Return whether mutating in `space` is drawing one of its `neighbours` uniformly."""
    return type(space).mutate is Space.mutate and not space.ranges


def without_ranges(space: Space) -> Space:
    """Return the space of the choices alone, which can be listed."""
    plain = copy(space)
    plain.ranges = ()
    return plain


def sample(space: Space, stream: Stream) -> Architecture:
    """Draw from the space's sampling law."""
    if listable(space):
        return space.at(stream.below(space.size))
    return space.sample(stream.generator())


def mutate(space: Space, arch: Architecture, stream: Stream) -> Architecture:
    """Draw from the space's mutation law; `arch` itself if it has no neighbour."""
    if not moves_by_number(space):
        return space.mutate(arch, stream.generator())
    if free_choices(space):
        count = sum(len(c.values) - 1 for c in space.choices)
        return _edited(space, arch, stream.below(count)) if count else arch
    options = space.neighbours(arch)
    return options[stream.below(len(options))] if options else arch


def crossed(
    space: Space, first: Architecture, second: Architecture, stream: Stream
) -> Architecture:
    """Return a child of two: each choice and number from either parent with equal probability.

    A value that the mask forbids after what was taken so far gives way to the other parent's, and
    if that is forbidden too, to an allowed one at random.
    """
    values: tuple[int, ...] = ()
    for pair in zip(first.values, second.values, strict=True):
        mask, k = space.mask(values), stream.below(2)
        fitting = [v for v in (pair[k], pair[1 - k]) if mask[v]]
        if not fitting:
            allowed = np.flatnonzero(mask).tolist()
            fitting = [allowed[stream.below(len(allowed))]]
        values += (fitting[0],)
    pairs = zip(first.numbers, second.numbers, strict=True)
    return Architecture(space.name, values, tuple(p[stream.below(2)] for p in pairs))


def free_choices(space: Space) -> bool:
    """Return whether every choice is free, so that the k-th neighbour needs no list of all."""
    kind = type(space)
    return kind.mask is Space.mask and kind.neighbours is Space.neighbours


def _edited(space: Space, arch: Architecture, k: int) -> Architecture:
    """Return `space.neighbours(arch)[k]` for a space where every choice is free."""
    values = arch.values
    for i, choice in enumerate(space.choices):
        others = len(choice.values) - 1
        if k < others:
            value = k if k < values[i] else k + 1
            return Architecture(space.name, (*values[:i], value, *values[i + 1 :]))
        k -= others
    raise IndexError(k)


@overload
def order_key(key: int) -> int: ...
@overload
def order_key(key: UInts) -> UInts: ...
def order_key(key: Any) -> Any:
    """Return the key of the random order that goes with a stream's key."""
    return mix(key)


class Shuffled:
    """The architectures of a space in random order, each once.

    Where the space can be listed, the order is a pseudo-random permutation of its index, and
    `position` is the only state. Otherwise architectures are drawn until one is new; the order
    then counts as exhausted after 10,000 draws in a row without one.
    """

    def __init__(self, space: Space, seed: int, position: int = 0) -> None:
        self.space = space
        self.seed = seed
        self.position = position
        self._key = order_key(Stream(seed).key)

    def next(self, seen: set[Architecture]) -> Architecture:
        """Return the next architecture that is not in `seen`; raises `Exhausted`."""
        return self._listed(seen) if listable(self.space) else self._drawn(seen)

    def _listed(self, seen: set[Architecture]) -> Architecture:
        size = self.space.size
        while self.position < size:
            index = permuted(self._key, self.position, size)
            self.position += 1
            arch = self.space.at(index)
            if arch not in seen:
                return arch
        raise Exhausted(f"all {size} architectures of space {self.space.name!r} were tried")

    def _drawn(self, seen: set[Architecture]) -> Architecture:
        for _ in range(_PATIENCE):
            stream = Stream(self._key, self.position)
            self.position += 1
            arch = self.space.sample(stream.generator())
            if arch not in seen:
                return arch
        raise Exhausted(f"no new architecture of space {self.space.name!r} in {_PATIENCE} draws")


def pack(arch: Architecture) -> list[Any]:
    """Return `arch` as JSON-able codes and numbers, for states."""
    return [list(arch.values), list(arch.numbers)]


def packed(archs: set[Architecture]) -> list[Any]:
    """Return a set of architectures as JSON-able data, in one order whatever their hashes."""
    return [pack(a) for a in sorted(archs, key=lambda a: (a.values, a.numbers))]


def unpack(space: Space, data: Any) -> Architecture:
    """Inverse of `pack`."""
    values, numbers = data
    return Architecture(space.name, tuple(values), tuple(numbers))
