"""The published text form of a pair of cells: `Genotype(normal=[...], normal_concat=..., ...)`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from transnas._errors import InputError
from transnas.spaces._cells import Block, Cell

__all__ = ["Genotype", "read_outputs", "read_pairs"]

_FORM = (
    "Genotype(normal=[('op', state), ...], normal_concat=[...], reduce=[...], reduce_concat=[...])"
)
_PAIR = r"\(\s*['\"](\w+)['\"]\s*,\s*([0-9]{1,3})\s*\)"


@dataclass(frozen=True, slots=True)
class Genotype:
    """A normal and a reduction cell as DARTS and its descendants print them.

    State 0 is the older input. Operations come in pairs, one pair a block; any number of blocks,
    any states as output.
    """

    normal: Cell
    reduce: Cell

    @classmethod
    def parse(cls, text: str) -> Genotype:
        """Read the printed form; an output may be a list or `range(a, b)`.

        Raises `InputError` if the text is not of that form or a block reads a later state.
        """
        return cls(_read_cell(text, "normal"), _read_cell(text, "reduce"))

    def __str__(self) -> str:
        parts = []
        for name, cell in (("normal", self.normal), ("reduce", self.reduce)):
            pairs = [f"({op!r}, {state})" for block in cell.blocks for state, op in block.pairs]
            parts += [f"{name}=[{', '.join(pairs)}]", f"{name}_concat={list(cell.outputs)}"]
        return f"Genotype({', '.join(parts)})"


def read_pairs(text: str, name: str) -> list[tuple[str, int]] | None:
    """Return (operation, state) pairs from `name=[('op', 0), ...]` in `text`; None: unreadable."""
    body = re.search(rf"\b{name}\s*=\s*\[([^\]]*)\]", text)
    if body is None or not re.fullmatch(rf"\s*(?:{_PAIR}\s*(?:,\s*)?)*", body[1]):
        return None
    return [(op, int(state)) for op, state in re.findall(_PAIR, body[1])]


def read_outputs(text: str, name: str) -> tuple[int, ...] | None:
    """Return the states of `name=[2, 3]` or `name=range(2, 4)` in `text`; None: unreadable."""
    found = re.search(rf"\b{name}\s*=\s*(range\s*)?[\[(]([0-9,\s]*)[\])]", text)
    if found is None:
        return None
    states = found[2].replace(",", " ").split()
    if any(len(n) > 3 for n in states) or (found[1] and len(states) != 2):
        return None
    numbers = [int(n) for n in states]
    return tuple(range(*numbers) if found[1] else numbers)


def _read_cell(text: str, name: str) -> Cell:
    found, outputs = read_pairs(text, name), read_outputs(text, f"{name}_concat")
    if found is None or outputs is None:
        raise _unreadable(text)
    pairs = [(state, op) for op, state in found]
    blocks = tuple(Block((a, b)) for a, b in zip(pairs[::2], pairs[1::2], strict=False))
    late = any(s >= i + 2 for i, block in enumerate(blocks) for s, _ in block.pairs)
    if not blocks or len(pairs) % 2 or late or not all(s < len(blocks) + 2 for s in outputs):
        raise _unreadable(text)
    return Cell(blocks, outputs)


def _unreadable(text: str) -> InputError:
    shown = text if len(text) <= 80 else f"{text[:77]}..."
    return InputError(f"genotype {shown!r} is not readable; accepted: {_FORM}")
