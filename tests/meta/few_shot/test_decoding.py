"""The architecture of logits by the rule of DARTS, on the published cells of Auto-MAML."""

from __future__ import annotations

import pytest
import torch

from transnas.meta.few_shot.decoding import SPACE, decode
from transnas.spaces._cells import Block

OPERATIONS = ("none", "max", "avg", "skip", "sep3", "sep5", "dil3", "dil5")
NAMES = {
    "max": "max_pool_3x3", "avg": "avg_pool_3x3", "skip": "skip_connect", "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5", "dil3": "dil_conv_3x3", "dil5": "dil_conv_5x5",
}  # fmt: skip
FIRST_ROW = (0, 2, 5, 9)
"""Row of a node's edge from state 0; those from later states follow. A cell has 14 rows."""
PUBLISHED = {
    "1-shot": (
        "avg-0 avg-1 | avg-1 avg-2 | avg-1 avg-2 | dil3-3 avg-2",
        "avg-0 dil5-1 | avg-0 dil5-1 | skip-3 dil5-2 | skip-4 skip-3",
    ),
    "5-shot": (
        "dil5-1 dil5-0 | dil5-2 dil3-1 | sep5-2 sep3-3 | skip-4 dil3-3",
        "sep5-0 avg-1 | avg-1 skip-2 | skip-2 avg-1 | skip-2 max-1",
    ),
}
"""Pairs of operation and state, the stronger one first; normal cell, reduction cell."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_come_from_logits_that_mean_them(name: str) -> None:
    # An edge that is dropped prefers a convolution among what computes, but is mostly `none`:
    # its share is exp(2) / (exp(4) + exp(2) + 6), below that of the edges that are kept.
    logits = torch.zeros(28, 8)
    logits[:, OPERATIONS.index("none")] = 4.0
    logits[:, OPERATIONS.index("sep3")] = 2.0
    blocks = {}
    for k, (kind, text) in enumerate(zip(("normal", "reduce"), PUBLISHED[name], strict=True)):
        blocks[kind] = []
        for node, block in enumerate(text.split(" | ")):
            pairs = [(word.split("-")[0], int(word[-1])) for word in block.split()]
            for (op, state), strength in zip(pairs, (1.5, 1.2), strict=True):
                row = logits[14 * k + FIRST_ROW[node] + state]
                row.zero_()
                row[OPERATIONS.index("none")] = 1.6  # the largest, and never chosen
                row[OPERATIONS.index(op)] = strength
            first, second = sorted((state, NAMES[op]) for op, state in pairs)
            blocks[kind].append(Block((first, second)))
    shifted = logits + torch.linspace(-3, 3, 28)[:, None]
    assert decode(torch.stack([logits, shifted])) == [SPACE.from_blocks(blocks)] * 2


def test_ties_go_to_the_first_state_and_operation() -> None:
    pooled = [Block(((0, NAMES["max"]), (1, NAMES["max"])))] * 4
    assert decode(torch.zeros(1, 28, 8)) == [
        SPACE.from_blocks({"normal": pooled, "reduce": pooled})
    ]
