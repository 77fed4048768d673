"""The residual-block space: ResNets whose depth, width, stages and doublings are chosen.

CATCH (Chen et al., ECCV 2020), section 4.3, searches base channel, depth, number of stages, blocks
of each stage, and the blocks at which channels double; strings as in SM-NAS (Yao et al., AAAI
2020). The type of block is a choice of ours. Architectures of depth D, S stages and k doublings:
C(D-1, S-1) C(D-1, k) for each block type and base channel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import comb
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError
from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._registry import register

__all__ = ["BLOCKS", "Plan", "Residual"]

BLOCKS = ("basic", "bottleneck", "resnext")
_ABSENT, _KEEPS, _DOUBLES = "-", "1", "2"
_DOUBLED = 2
"""Code of `2` in the choice of a block."""
_HEAD = 4
"""Choices before the stage lengths: block, base, depth, stages."""


@dataclass(frozen=True, slots=True)
class Plan:
    """An architecture read out: a digit a block, `2` where it doubles the channels.

    `stages` are digit strings, such as `("11", "21", "21", "21")`.
    """

    block: str
    base: int
    stages: tuple[str, ...]

    @property
    def digits(self) -> str:
        """The blocks of all stages."""
        return "".join(self.stages)

    @property
    def widths(self) -> tuple[tuple[int, ...], ...]:
        """Channels of each block (of its 3x3 convolution), stage by stage."""
        channels, found = self.base, []
        for stage in self.stages:
            widths = []
            for digit in stage:
                channels *= 2 if digit == _DOUBLES else 1
                widths.append(channels)
            found.append(tuple(widths))
        return tuple(found)

    def __str__(self) -> str:
        return f"{self.block}_{self.base}_{'-'.join(self.stages)}"


class _Rest(NamedTuple):
    """What decides which choices may follow: the part they are in, and what it must still place.

    Lengths: `left` stages share `blocks` blocks. Bits: `left` of `blocks` blocks double.
    """

    part: Literal["head", "lengths", "doublings", "bits"]
    blocks: int = 0
    left: int = 0


@register("residual")
class Residual(Space):
    """Text is `block_base_stages`; ResNet-18 is `basic_64_11-21-21-21`.

    Stages are separated by `-`, each after the first halves the image; a digit is a block, `2`
    where it doubles the channels. The first block never doubles. The settings are the values of
    each choice: block types, base channels, depths (blocks in all), numbers of stages and of
    doublings; raises `InputError` for others.
    """

    def __init__(
        self,
        name: str = "residual",
        blocks: Sequence[str] = BLOCKS,
        bases: Sequence[int] = (32, 40, 48, 56, 64, 72, 80),
        depths: Sequence[int] = (8, 12, 16, 20, 25, 30),
        stages: Sequence[int] = (4, 5),
        doublings: Sequence[int] = (3, 4),
    ) -> None:
        for field, given, least in (
            ("bases", bases, 4), ("depths", depths, max(stages, default=1)),
            ("stages", stages, 2), ("doublings", doublings, 0),
        ):  # fmt: skip
            if not given or sorted(set(given)) != list(given) or given[0] < least:
                raise InputError(
                    f"{field} of space {name!r} are {tuple(given)}; accepted: ascending whole "
                    f"numbers from {least}"
                )
        if not blocks or not set(blocks) <= set(BLOCKS):
            raise InputError(f"blocks {tuple(blocks)} are unknown; accepted: {', '.join(BLOCKS)}")
        if doublings[-1] >= depths[0]:
            raise InputError(
                f"doublings {tuple(doublings)} do not fit {depths[0]} blocks; accepted: fewer"
            )
        self.name = name
        self.depths, self.stages, self.doublings = tuple(depths), tuple(stages), tuple(doublings)
        self.lengths = stages[-1] - 1
        """Stage lengths that are choices; the last stage takes the blocks that are left."""
        most = depths[-1]
        longest = most - stages[0] + 1
        self.choices = (
            Choice("block", tuple(blocks)),
            Choice("base", tuple(map(str, bases))),
            Choice("depth", tuple(map(str, depths))),
            Choice("stages", tuple(map(str, stages))),
            *(
                Choice(f"stage {i + 1}", (_ABSENT, *map(str, range(1, longest + 1))))
                for i in range(self.lengths)
            ),
            Choice("doublings", tuple(map(str, doublings))),
            *(Choice(f"block {i}", (_ABSENT, _KEEPS, _DOUBLES)) for i in range(2, most + 1)),
        )

    # What is allowed ------------------------------------------------------------------------

    def mask(self, prefix: Sequence[int]) -> npt.NDArray[np.bool_]:
        """Return which values leave at least one architecture."""
        rest = self._rest(prefix)
        found = np.zeros(len(self.choices[len(prefix)].values), dtype=np.bool_)
        if rest.part == "lengths" and rest.left > 1:
            found[1 : rest.blocks - rest.left + 2] = True  # one block stays for each later stage
        elif rest.part == "bits" and rest.blocks:
            found[1], found[2] = rest.left < rest.blocks, rest.left > 0
        elif rest.part in ("lengths", "bits"):
            found[0] = True
        else:
            found[:] = True
        return found

    def completions(self, prefix: Sequence[int]) -> int:
        """Return how many architectures start with the valid `prefix`, by binomials."""
        rest = self._rest(prefix)
        if rest.part == "bits":
            return comb(rest.blocks, rest.left)
        if rest.part == "lengths":
            lengths = comb(rest.blocks - 1, rest.left - 1)
            return lengths * self._doublings(self.depths[prefix[2]])
        if rest.part == "doublings":
            return self._doublings(self.depths[prefix[2]])
        free = [len(c.values) for c in self.choices[len(prefix) : 2]]
        depths = [self.depths[code] for code in prefix[2:3]] or self.depths
        return int(np.prod(free, dtype=np.int64)) * sum(
            comb(depth - 1, stages - 1) * self._doublings(depth)
            for depth in depths
            for stages in self.stages
        )

    def _doublings(self, depth: int) -> int:
        """Return in how many ways the blocks after the first may double."""
        return sum(comb(depth - 1, k) for k in self.doublings)

    def _rest(self, prefix: Sequence[int]) -> _Rest:
        """Return what the choices after `prefix` depend on."""
        position, after = len(prefix), _HEAD + self.lengths
        if position < _HEAD:
            return _Rest("head")
        if position == after:
            return _Rest("doublings")
        depth, stages = self.depths[prefix[2]], self.stages[prefix[3]]
        if position < after:  # the code of a length is the length
            left = max(1, stages - (position - _HEAD))
            return _Rest("lengths", depth - sum(prefix[_HEAD:]), left)
        bits = list(prefix[after + 1 :])
        left = self.doublings[prefix[after]] - bits.count(_DOUBLED)
        return _Rest("bits", max(0, depth - 1 - len(bits)), left)

    # Moving ---------------------------------------------------------------------------------

    def neighbours(self, arch: Architecture) -> list[Architecture]:
        """Return the valid networks one edit away.

        An edit changes the block type or base, moves a stage's border by one block, joins or
        divides stages, moves a doubling by one block, adds or takes a doubling, or goes to the
        next depth by adding plain blocks at the end of a stage, or taking such from there.
        """
        plan = self.plan(arch)
        edits = dict.fromkeys(p for p in self._edits(plan) if p != plan and self._fits(p))
        return [self._of_plan(p) for p in edits]

    def _edits(self, plan: Plan) -> Iterator[Plan]:
        yield from (replace(plan, block=block) for block in self.choices[0].values)
        yield from (replace(plan, base=int(base)) for base in self.choices[1].values)
        digits, borders = plan.digits, _borders(plan.stages)
        for border in borders:
            others = borders - {border}
            yield _cut(plan, digits, others)
            yield from (_cut(plan, digits, others | {border + step}) for step in (-1, 1))
        yield from (_cut(plan, digits, borders | {new}) for new in range(1, len(digits)))
        for i in range(1, len(digits)):
            other = _KEEPS if digits[i] == _DOUBLES else _DOUBLES
            yield _cut(plan, digits[:i] + other + digits[i + 1 :], borders)
            swapped = digits[: i - 1] + digits[i] + digits[i - 1] + digits[i + 1 :]
            yield _cut(plan, swapped, borders)
        at = self.depths.index(len(digits))
        for depth in self.depths[max(0, at - 1) : at + 2]:
            change = depth - len(digits)
            tail = _KEEPS * abs(change)
            for i, stage in enumerate(plan.stages):
                edited = stage + tail if change > 0 else stage.removesuffix(tail)
                yield replace(plan, stages=(*plan.stages[:i], edited, *plan.stages[i + 1 :]))

    def _fits(self, plan: Plan) -> bool:
        digits = plan.digits
        return (
            plan.block in self.choices[0].values
            and str(plan.base) in self.choices[1].values
            and len(plan.stages) in self.stages
            and all(plan.stages)
            and len(digits) in self.depths
            and digits[0] == _KEEPS
            and set(digits) <= {_KEEPS, _DOUBLES}
            and digits.count(_DOUBLES) in self.doublings
        )

    # Reading --------------------------------------------------------------------------------

    def plan(self, arch: Architecture) -> Plan:
        """Return what the codes of `arch` mean."""
        words = [c.values[v] for c, v in zip(self.choices, arch.values, strict=True)]
        depth, count = int(words[2]), int(words[3])
        lengths = [int(w) for w in words[_HEAD : _HEAD + count - 1]]
        digits = _KEEPS + "".join(words[_HEAD + self.lengths + 1 :])[: depth - 1]
        borders = {sum(lengths[: i + 1]) for i in range(len(lengths))}
        return _cut(Plan(words[0], int(words[1]), ()), digits, borders)

    def _of_plan(self, plan: Plan) -> Architecture:
        lengths = [str(len(stage)) for stage in plan.stages[:-1]]
        lengths += [_ABSENT] * (self.lengths - len(lengths))
        digits = plan.digits
        bits = [*digits[1:], *[_ABSENT] * (self.depths[-1] - len(digits))]
        head = [plan.block, str(plan.base), str(len(digits)), str(len(plan.stages))]
        words = [*head, *lengths, str(digits.count(_DOUBLES)), *bits]
        codes = [c.values.index(w) for c, w in zip(self.choices, words, strict=True)]
        return Architecture(self.name, tuple(codes))

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the chain of blocks: type, channels, and `/2` where the image is halved."""
        plan = self.plan(arch)
        halved = {0} | _borders(plan.stages)
        widths = [w for stage in plan.widths for w in stage]
        ends = ["/2" if i in halved and i else "" for i in range(len(widths))]
        return (tuple(f"{plan.block} {w}{e}" for w, e in zip(widths, ends, strict=True)),)

    def graph(self, arch: Architecture) -> Graph:
        """Return the chain of stages."""
        plan = self.plan(arch)
        nodes = ("image", *(f"stage {i + 1}" for i in range(len(plan.stages))))
        labels = [f"{len(w)} {plan.block}, {_range(w)}" for w in plan.widths]
        edges = tuple((a, b, label) for (a, b), label in zip(pairwise(nodes), labels, strict=True))
        return Graph(nodes, edges)

    def to_text(self, arch: Architecture) -> str:
        """Return `block_base_stages`."""
        return str(self.plan(arch))

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        parts = text.strip().split("_")
        if len(parts) == 3 and parts[1].isascii() and parts[1].isdecimal():
            plan = Plan(parts[0], int(parts[1][:9]), tuple(parts[2].split("-")))
            if self._fits(plan) and str(plan) == text.strip():
                return self._of_plan(plan)
        raise InputError(
            f"architecture text {text[:60]!r} is not of space {self.name!r}; accepted: like "
            f"{self.to_text(self.at(0))} with block {_listed(self.choices[0].values)}, base "
            f"{_listed(self.choices[1].values)}, {_listed(self.stages)} stages of "
            f"{_listed(self.depths)} blocks in all (1 keeps, 2 doubles the channels, never the "
            f"first), {_listed(self.doublings)} doublings"
        )


def _borders(stages: Sequence[str]) -> set[int]:
    """Return before which blocks a new stage starts."""
    return {sum(map(len, stages[: i + 1])) for i in range(len(stages) - 1)}


def _cut(plan: Plan, digits: str, borders: set[int]) -> Plan:
    """Return `plan` with these blocks, cut into stages at `borders`."""
    ends = [0, *sorted(borders), len(digits)]
    return Plan(plan.block, plan.base, tuple(digits[a:b] for a, b in pairwise(ends)))


def _range(widths: Sequence[int]) -> str:
    return f"{widths[0]} ch" if widths[0] == widths[-1] else f"{widths[0]}-{widths[-1]} ch"


def _listed(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


@register("residual-small")
def small() -> Residual:
    """Return the variant for small images, few epochs and a CPU."""
    return Residual(
        "residual-small",
        blocks=("basic", "bottleneck"),
        bases=(8, 12, 16, 24),
        depths=(5, 6, 7, 8, 10),
        stages=(4, 5),
        doublings=(2, 3),
    )
