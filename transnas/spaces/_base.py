"""What a search space is: a sequence of categorical choices, and a mask after each prefix."""

from __future__ import annotations

import json
from abc import ABC
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import exp, log

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError, unknown

__all__ = ["Architecture", "Choice", "Graph", "Range", "Space"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One categorical decision: its name and the names of its values, in code order."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """A number searched beside the architecture (a learning rate, ...); never masked."""

    name: str
    low: float
    high: float
    log: bool = False

    def from_unit(self, u: float) -> float:
        """Map `u` in [0, 1] onto the range, on a logarithmic scale if `log`."""
        if self.log:
            value = exp(log(self.low) + u * (log(self.high) - log(self.low)))
        else:
            value = self.low + u * (self.high - self.low)
        return min(max(value, self.low), self.high)  # rounding may lead out of the range

    def to_unit(self, value: float) -> float:
        """Inverse of `from_unit`."""
        if self.log:
            return (log(value) - log(self.low)) / (log(self.high) - log(self.low))
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class Architecture:
    """One point of a space: a value code for each choice, and a number for each range."""

    space: str
    values: tuple[int, ...]
    numbers: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Graph:
    """An architecture as a directed acyclic graph, for drawing and for explanations.

    `nodes` are names in topological order; an edge is (source, target, label). Edges that do
    nothing (`none`) are left out.
    """

    nodes: tuple[str, ...]
    edges: tuple[tuple[str, str, str], ...]


class Space(ABC):
    """A search space as data: `choices`, `ranges`, and `mask` for what may follow a prefix.

    Subclasses set `name` and `choices`; a space whose validity depends on earlier choices
    overrides `mask` (and `completions` where plain recursion would be slow). Sampling, size,
    listing, indexing, neighbours, encodings and both text forms follow from these.
    """

    name: str
    choices: tuple[Choice, ...]
    ranges: tuple[Range, ...] = ()

    # What is allowed ------------------------------------------------------------------------

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return which values of choice `len(prefix)` may follow a valid `prefix`; never all False.

        Shape: [number of values of that choice].
        """
        return np.ones(len(self.choices[len(prefix)].values), dtype=np.bool_)

    def completions(self, prefix: Sequence[int]) -> int:
        """Return how many valid sequences start with the valid `prefix` (exact, any size)."""
        if type(self).mask is Space.mask:
            return _product(len(c.values) for c in self.choices[len(prefix) :])
        if len(prefix) == len(self.choices):
            return 1
        allowed = np.flatnonzero(self.mask(prefix)).tolist()
        return sum(self.completions((*prefix, value)) for value in allowed)

    @cached_property
    def size(self) -> int:
        """Number of valid code sequences (ranges not counted)."""
        return self.completions(())

    def validate(self, arch: Architecture) -> None:
        """Raise `InputError` unless `arch` is a valid point of this space."""
        if arch.space != self.name:
            raise InputError(f"architecture is of space {arch.space!r}; accepted: {self.name!r}")
        if len(arch.values) != len(self.choices):
            raise InputError(
                f"architecture has {len(arch.values)} values; space {self.name!r} "
                f"has {len(self.choices)} choices"
            )
        for i, value in enumerate(arch.values):
            choice = self.choices[i]
            mask = self.mask(arch.values[:i])
            if not 0 <= value < len(choice.values) or not mask[value]:
                allowed = ", ".join(v for v, ok in zip(choice.values, mask, strict=True) if ok)
                shown = choice.values[value] if 0 <= value < len(choice.values) else value
                raise InputError(f"choice {choice.name!r} has value {shown!r}; accepted: {allowed}")
        self._validate_numbers(arch.numbers)

    def _validate_numbers(self, numbers: Sequence[float]) -> None:
        if len(numbers) != len(self.ranges):
            raise InputError(
                f"architecture has {len(numbers)} numbers; space {self.name!r} "
                f"has {len(self.ranges)} ranges"
            )
        for r, number in zip(self.ranges, numbers, strict=True):
            if not r.low <= number <= r.high:
                raise InputError(
                    f"range {r.name!r} has value {number}; accepted: {r.low}..{r.high}"
                )

    def architecture(self, values: Sequence[int], numbers: Sequence[float] = ()) -> Architecture:
        """Return the architecture with these codes; raises `InputError` if it is not valid."""
        arch = Architecture(self.name, tuple(map(int, values)), tuple(map(float, numbers)))
        self.validate(arch)
        return arch

    # Drawing and moving ---------------------------------------------------------------------

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw uniformly over valid sequences; numbers uniformly over their (log) ranges."""
        values: tuple[int, ...] = ()
        for choice in self.choices:
            if type(self).mask is Space.mask:
                values += (int(rng.integers(len(choice.values))),)
                continue
            allowed, shares = _continuations(self, values)
            values += (allowed[bisect(shares, rng.random())],)
        numbers = tuple(r.from_unit(rng.random()) for r in self.ranges)
        return Architecture(self.name, values, numbers)

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """Return all valid one-edit mutants, without `arch`; a symmetric relation.

        One edit changes one choice; spaces with dependent choices override it. Numbers stay.
        """
        found = []
        for i, choice in enumerate(self.choices):
            for value in range(len(choice.values)):
                if value == arch.values[i]:
                    continue
                values = (*arch.values[:i], value, *arch.values[i + 1 :])
                if self._valid_codes(values):
                    found.append(Architecture(self.name, values, arch.numbers))
        return found

    def mutate(self, arch: Architecture, rng: np.random.Generator) -> Architecture:
        """Draw one neighbour uniformly; with ranges, half of the draws move one number instead.

        A number moves by a Gaussian step of a tenth of its (log) range, reflected at the ends.
        """
        if self.ranges and (rng.random() < 0.5 or not self.choices):
            i = int(rng.integers(len(self.ranges)))
            u = self.ranges[i].to_unit(arch.numbers[i]) + 0.1 * rng.standard_normal()
            moved = self.ranges[i].from_unit(min(1.0, abs(u) if u < 1.0 else max(0.0, 2.0 - u)))
            numbers = (*arch.numbers[:i], moved, *arch.numbers[i + 1 :])
            return Architecture(self.name, arch.values, numbers)
        options = _neighbours(self, arch)
        return options[int(rng.integers(len(options)))]

    def _valid_codes(self, values: Sequence[int]) -> bool:
        if type(self).mask is Space.mask:
            return True
        return all(self.mask(values[:i])[value] for i, value in enumerate(values))

    # Structure ------------------------------------------------------------------------------

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the representative of `arch`'s isomorphism class (idempotent)."""
        return arch

    def pruned(self, arch: Architecture) -> Architecture:
        """Return `arch` with choices that cannot influence the output set to a neutral value.

        Used by kernels; need not be a valid architecture of a space with masks.
        """
        return arch

    def referents(self, choice: int) -> tuple[int | None, ...]:
        """Return what each value of `choice` points at; empty (the default): it is no pointer.

        A number from 0 up is the choice that completes the part of the architecture pointed at,
        -1, -2, ... are the architecture's inputs, and None is nothing (the 0 of a bit). For
        controllers that choose by attention to what they built before.
        """
        return ()

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the operation labels along each path from input to output; may be empty.

        The default sees the choices as one chain.
        """
        return (tuple(c.values[v] for c, v in zip(self.choices, arch.values, strict=True)),)

    def graph(self, arch: Architecture) -> Graph:
        """Return `arch` as a graph to draw. The default is the chain of choices."""
        nodes = ("input", *(c.name for c in self.choices))
        edges = tuple(
            (nodes[i], nodes[i + 1], choice.values[value])
            for i, (choice, value) in enumerate(zip(self.choices, arch.values, strict=True))
        )
        return Graph(nodes, edges)

    # Encodings ------------------------------------------------------------------------------

    @cached_property
    def width(self) -> int:
        """Number of features of `encode`."""
        return sum(len(c.values) for c in self.choices) + len(self.ranges)

    def encode(self, archs: Sequence[Architecture]) -> npt.NDArray[np.float32]:
        """Return one-hot codes of the choices, then numbers scaled to [0, 1].

        Shape: [len(archs), width], float32.
        """
        out = np.zeros((len(archs), self.width), dtype=np.float32)
        if not archs:
            return out
        offsets = np.cumsum([0, *(len(c.values) for c in self.choices)])
        codes = np.array([a.values for a in archs], dtype=np.int64).reshape(len(archs), -1)
        rows = np.arange(len(archs))[:, None]
        out[rows, codes + offsets[:-1]] = 1.0
        for j, r in enumerate(self.ranges):
            out[:, offsets[-1] + j] = [r.to_unit(a.numbers[j]) for a in archs]
        return out

    # Listing --------------------------------------------------------------------------------

    def architectures(self) -> Iterator[Architecture]:
        """Yield every valid code sequence in the order of `index`; only for spaces without ranges.

        Raises `InputError` if the space has ranges, because then it cannot be listed.
        """
        for i in range(self.size):
            yield self.at(i)

    def index(self, arch: Architecture) -> int:
        """Return the position of `arch` in `architectures()` (lexicographic unless documented)."""
        self._require_enumerable()
        position = 0
        for i, value in enumerate(arch.values):
            mask = self.mask(arch.values[:i])
            for smaller in np.flatnonzero(mask[:value]).tolist():
                position += self.completions((*arch.values[:i], smaller))
        return position

    def at(self, index: int) -> Architecture:
        """Return the architecture at `index`; inverse of `index()`."""
        self._require_enumerable()
        if not 0 <= index < self.size:
            raise InputError(
                f"index {index} is not in space {self.name!r}; accepted: 0..{self.size - 1}"
            )
        values: tuple[int, ...] = ()
        for _ in self.choices:
            for value in np.flatnonzero(self.mask(values)).tolist():
                count = self.completions((*values, value))
                if index < count:
                    values += (value,)
                    break
                index -= count
        return Architecture(self.name, values)

    def _require_enumerable(self) -> None:
        if self.ranges:
            raise InputError(f"space {self.name!r} has number ranges and cannot be listed")

    # Text and JSON --------------------------------------------------------------------------

    def to_text(self, arch: Architecture) -> str:
        """Return the space's text form; by default `name=value,...`."""
        parts = [f"{c.name}={c.values[v]}" for c, v in zip(self.choices, arch.values, strict=True)]
        parts += [f"{r.name}={n!r}" for r, n in zip(self.ranges, arch.numbers, strict=True)]
        return ",".join(parts)

    def from_text(self, text: str) -> Architecture:
        """Return the architecture that `text` describes; raises `InputError` otherwise."""
        pairs: dict[str, str] = {}
        for part in text.split(","):
            key, equals, value = part.partition("=")
            if not equals:
                raise InputError(
                    f"architecture text {text!r} is not readable; "
                    f"accepted: comma-separated name=value for space {self.name!r}"
                )
            if (name := key.strip()) in pairs:
                raise InputError(f"choice {name!r} is given twice; accepted: once")
            pairs[name] = value.strip()
        return self._from_names(pairs)

    def to_json(self, arch: Architecture) -> str:
        """Return `arch` as JSON that names choices and values, so later additions keep it valid."""
        names = {c.name: c.values[v] for c, v in zip(self.choices, arch.values, strict=True)}
        numbers = {r.name: n for r, n in zip(self.ranges, arch.numbers, strict=True)}
        return json.dumps({"space": self.name, "values": {**names, **numbers}})

    def from_json(self, text: str) -> Architecture:
        """Inverse of `to_json`; raises `InputError` for anything else."""
        try:
            data = json.loads(text)
            space, values = data["space"], dict(data["values"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"architecture JSON {text[:60]!r} is not readable; "
                'accepted: {"space": ..., "values": {...}}'
            ) from error
        if space != self.name:
            raise InputError(f"architecture is of space {space!r}; accepted: {self.name!r}")
        return self._from_names({str(k): str(v) for k, v in values.items()})

    def _from_names(self, pairs: dict[str, str]) -> Architecture:
        known = [c.name for c in self.choices] + [r.name for r in self.ranges]
        for name in pairs:
            if name not in known:
                raise unknown("choice", name, known)
        missing = [name for name in known if name not in pairs]
        if missing:
            raise InputError(f"choice {missing[0]!r} is missing; accepted: all of {known}")
        words = [pairs[c.name] for c in self.choices]
        return self._from_words(words, [_number(r.name, pairs[r.name]) for r in self.ranges])

    def _from_words(self, words: Sequence[str], numbers: Sequence[float] = ()) -> Architecture:
        """Return the architecture of one value a choice; raises `InputError` for unknown ones."""
        for choice, word in zip(self.choices, words, strict=True):
            if word not in choice.values:
                raise unknown(f"choice {choice.name!r} value", word, choice.values)
        codes = [c.values.index(w) for c, w in zip(self.choices, words, strict=True)]
        return self.architecture(codes, numbers)


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"range {name!r} has value {text!r}; accepted: a number") from None


def _product(counts: Iterator[int]) -> int:
    result = 1
    for count in counts:
        result *= count
    return result


@lru_cache(maxsize=1 << 15)
def _continuations(space: Space, prefix: tuple[int, ...]) -> tuple[list[int], list[float]]:
    """Return what may follow `prefix`, and the cumulative shares of architectures; kept.

    Drawing by `bisect` gives what `Generator.choice` would, which takes ten times as long.
    """
    allowed = np.flatnonzero(space.mask(prefix)).tolist()
    counts = np.array([float(space.completions((*prefix, v))) for v in allowed])
    shares = (counts / counts.sum()).cumsum()
    return allowed, (shares / shares[-1]).tolist()


@lru_cache(maxsize=256)
def _neighbours(space: Space, arch: Architecture) -> list[Architecture]:
    """Return the neighbours of `arch`, kept: searches mutate the same few parents again."""
    return space.neighbours(arch)
