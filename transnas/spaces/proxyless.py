"""The ProxylessNAS space: a chain of 21 inverted bottlenecks whose kernel and expansion are chosen.

Cai et al., "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware", ICLR
2019. A block with a shortcut may be `zero`, which leaves its identity: that is how depth is
searched. 6^6 7^15 = 2.215e17 chains.
"""

from __future__ import annotations

from transnas._errors import InputError
from transnas.spaces._base import Architecture, Choice, Graph, Space
from transnas.spaces._registry import register

__all__ = ["CELLS", "OPERATIONS", "STRIDES", "ZERO", "ProxylessNAS"]

CELLS = (4, 4, 4, 4, 4, 1)
"""Blocks of each stage; the first of a stage has no shortcut."""
STRIDES = (2, 2, 2, 1, 2, 1)
OPERATIONS = tuple(f"mb{e}_k{k}" for k in (3, 5, 7) for e in (3, 6))
ZERO = "zero"


@register("proxyless")
class ProxylessNAS(Space):
    """Text is the stages, blocks by commas, stages by slashes: `mb3_k5,zero,.../...`."""

    name = "proxyless"
    choices = tuple(
        Choice(f"stage {s + 1} block {b + 1}", (*OPERATIONS, ZERO) if b else OPERATIONS)
        for s, blocks in enumerate(CELLS)
        for b in range(blocks)
    )

    def blocks(self, arch: Architecture) -> tuple[str, ...]:
        """Return the operation of each block."""
        return tuple(c.values[v] for c, v in zip(self.choices, arch.values, strict=True))

    def canonical(self, arch: Architecture) -> Architecture:
        """Return the chain with the blocks left out at the end of their stage."""
        words = [sorted(stage, key=lambda op: op == ZERO) for stage in self._stages(arch)]
        return self._from_words([op for stage in words for op in stage])

    def paths(self, arch: Architecture) -> tuple[tuple[str, ...], ...]:
        """Return the blocks that are there, each with its stage."""
        stages = enumerate(self._stages(arch), start=1)
        return (tuple(f"{s} {op}" for s, stage in stages for op in stage if op != ZERO),)

    def graph(self, arch: Architecture) -> Graph:
        """Return the chain of the blocks that are there."""
        chosen = [
            (c.name, op)
            for c, op in zip(self.choices, self.blocks(arch), strict=True)
            if op != ZERO
        ]
        nodes = ("input", *(name for name, _ in chosen))
        edges = tuple((nodes[i], name, op) for i, (name, op) in enumerate(chosen))
        return Graph(nodes, edges)

    def to_text(self, arch: Architecture) -> str:
        """Return the blocks, stage by stage."""
        return "/".join(",".join(stage) for stage in self._stages(arch))

    def from_text(self, text: str) -> Architecture:
        """Inverse of `to_text`."""
        stages = [[op.strip() for op in part.split(",")] for part in text.split("/")]
        if tuple(map(len, stages)) != CELLS:
            raise InputError(
                f"architecture text {text!r} is not readable; accepted: six stages of "
                f"{', '.join(map(str, CELLS))} blocks, as mb3_k5,zero,mb6_k3,zero/..."
            )
        return self._from_words([op for stage in stages for op in stage])

    def _stages(self, arch: Architecture) -> list[tuple[str, ...]]:
        blocks = iter(self.blocks(arch))
        return [tuple(next(blocks) for _ in range(count)) for count in CELLS]
