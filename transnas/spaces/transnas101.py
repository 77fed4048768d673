"""The two spaces of TransNAS-Bench-101 (Duan et al., CVPR 2021): micro cells and macro chains."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._registry import register
from transnas.spaces.nasbench201 import EDGES, INPUT, OPERATIONS, SKIP, NASBench201, output_term

__all__ = ["TransNASMacro", "TransNASMicro"]


@register("transnas101-micro")
class TransNASMicro(Space):
    """The 4,096 NAS-Bench-201 cells without pooling; text is the benchmark's `1_02_333`."""

    name = "transnas101-micro"
    choices = tuple(Choice(f"{i}>{j}", OPERATIONS[:4]) for i, j in EDGES)
    _cell = NASBench201()

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the first cell (lexicographic) whose network computes the same function.

        As in NAS-Bench-201, but the network's cells of stride 2 tell more apart: there a skip from
        the input is a factorised reduction, which has weights. 1,229 classes.
        """
        return Architecture(self.name, _micro_representatives()[arch.values])

    def pruned(self, arch: Architecture) -> Architecture:
        """Return the cell with `none` on every edge that lies on no input-output path."""
        return Architecture(self.name, self._cell.pruned(arch).values)

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the operations along each input-output path, skips left out."""
        return self._cell.paths(arch)

    def graph(self, arch: Architecture) -> Graph:
        """Return the cell with its four nodes."""
        return self._cell.graph(arch)

    def to_text(self, arch: Architecture) -> str:
        """Return `a_bc_def`: operation codes grouped by target node."""
        code = "".join(map(str, arch.values))
        return f"{code[0]}_{code[1:3]}_{code[3:]}"

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        groups = text.strip().split("_")
        if [len(g) for g in groups] != [1, 2, 3] or not set("".join(groups)) <= set("0123"):
            raise InputError(
                f"architecture text {text!r} is not readable; accepted: like 1_02_333 with "
                "digits 0 none, 1 skip_connect, 2 nor_conv_1x1, 3 nor_conv_3x3"
            )
        return self.architecture([int(c) for c in "".join(groups)])


_REDUCTION = len(OPERATIONS)
"""The code of a skip that halves the map."""


@lru_cache(maxsize=1)
def _micro_representatives() -> dict[tuple[int, ...], tuple[int, ...]]:
    # Cells that agree with stride 2 agree with stride 1, where the reductions become skips.
    first: dict[tuple[str, ...], tuple[int, ...]] = {}
    return {
        arch.values: first.setdefault(output_term(_with_reductions(arch.values)), arch.values)
        for arch in TransNASMicro().architectures()
    }


def _with_reductions(values: Sequence[int]) -> list[int]:
    return [
        _REDUCTION if source == INPUT and code == SKIP else code
        for (source, _), code in zip(EDGES, values, strict=True)
    ]


_END = "end"
_MODULES = ("1", "2", "3", "4")
_SHORTEST, _LONGEST = 4, 6
_DOWNSAMPLINGS, _DOUBLINGS = (1, 4), (1, 3)


@register("transnas101-macro")
class TransNASMacro(Space):
    """The 3,256 chains of 4 to 6 modules: 1 plain, 2 doubles channels, 3 halves size, 4 both.

    Valid chains halve the size 1 to 4 times and double the channels 1 to 3 times.
    """

    name = "transnas101-macro"
    choices = tuple(
        Choice(f"module {i + 1}", _MODULES if i < _SHORTEST else (_END, *_MODULES))
        for i in range(_LONGEST)
    )

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return which modules may follow so that the chain can still become valid."""
        digits, ended = self._digits(prefix)
        allowed = []
        for value in self.choices[len(prefix)].values:
            if value == _END:
                allowed.append(ended or _chains(len(prefix), *_counts(digits), ended=True) > 0)
            else:
                counts = _counts(digits + value)
                allowed.append(not ended and _chains(len(prefix) + 1, *counts, ended=False) > 0)
        return np.array(allowed, dtype=np.bool_)

    def completions(self, prefix: Sequence[int]) -> int:
        """Return how many valid chains start with `prefix`, from counts of what it uses."""
        digits, ended = self._digits(prefix)
        return _chains(len(prefix), *_counts(digits), ended=ended)

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """Return valid chains with one module changed, inserted or deleted."""
        text = self.to_text(arch)
        edits = {text[:i] + text[i + 1 :] for i in range(len(text))}
        edits |= {text[:i] + m + text[i:] for i in range(len(text) + 1) for m in _MODULES}
        edits |= {text[:i] + m + text[i + 1 :] for i in range(len(text)) for m in _MODULES}
        return [self.from_text(t) for t in sorted(edits - {text}) if _is_chain(t)]

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the chain of modules."""
        return (tuple(self.to_text(arch)),)

    def graph(self, arch: Architecture) -> Graph:
        """Return the chain of modules between input and output."""
        modules = self.to_text(arch)
        names = {"1": "plain", "2": "channels x2", "3": "size /2", "4": "size /2, channels x2"}
        nodes = ("input", *(f"module {i + 1}" for i in range(len(modules))))
        edges = tuple((nodes[i], nodes[i + 1], names[m]) for i, m in enumerate(modules))
        return Graph(nodes, edges)

    def to_text(self, arch: Architecture) -> str:
        """Return the benchmark's digits, such as `224131`."""
        return self._digits(arch.values)[0]

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        text = text.strip()
        if not _is_chain(text):
            raise InputError(
                f"architecture text {text!r} is not a chain; accepted: 4 to 6 digits of 1..4 with "
                "1 to 4 digits among 3, 4 and 1 to 3 digits among 2, 4"
            )
        padded = [*text, *[_END] * (_LONGEST - len(text))]
        codes = [c.values.index(v) for c, v in zip(self.choices, padded, strict=True)]
        return Architecture(self.name, tuple(codes))

    def _digits(self, values: Sequence[int]) -> tuple[str, bool]:
        words = [self.choices[i].values[v] for i, v in enumerate(values)]
        return "".join(w for w in words if w != _END), _END in words


def _counts(digits: str) -> tuple[int, int]:
    return sum(d in "34" for d in digits), sum(d in "24" for d in digits)


def _is_chain(text: str) -> bool:
    downs, doubles = _counts(text)
    return (
        _SHORTEST <= len(text) <= _LONGEST
        and set(text) <= set(_MODULES)
        and _DOWNSAMPLINGS[0] <= downs <= _DOWNSAMPLINGS[1]
        and _DOUBLINGS[0] <= doubles <= _DOUBLINGS[1]
    )


@cache
def _chains(position: int, downs: int, doubles: int, *, ended: bool) -> int:
    """Return the number of valid completions after `position` decided modules."""
    if downs > _DOWNSAMPLINGS[1] or doubles > _DOUBLINGS[1]:
        return 0
    complete = downs >= _DOWNSAMPLINGS[0] and doubles >= _DOUBLINGS[0]
    if ended or position == _LONGEST:
        return int(complete)
    longer = sum(
        _chains(position + 1, downs + (m in "34"), doubles + (m in "24"), ended=False)
        for m in _MODULES
    )
    return longer + int(position >= _SHORTEST and complete)
