"""The TransNAS spaces against the benchmark's own lists."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from transnas import spaces
from transnas.networks.operations import Mode, operation


def test_macro_rule_gives_the_official_list(data_file: Callable[[str], Path]) -> None:
    space = spaces.get("transnas101-macro")
    with np.load(data_file("nas/transnas101.npz"), allow_pickle=False) as table:
        official = {"".join(str(c) for c in row if c) for row in table["macro_arch"]}
    assert {space.to_text(a) for a in space.architectures()} == official
    assert space.size == 3_256


def test_micro_has_4096_cells_of_which_169_are_cut_off() -> None:
    space = spaces.get("transnas101-micro")
    cells = list(space.architectures())
    assert len(cells) == 4_096
    assert sum(not space.paths(c) for c in cells) == 169
    assert space.to_text(space.from_text("1_02_333")) == "1_02_333"


def _all_outputs(stride: int) -> Tensor:
    """Return what each of the 4,096 micro cells makes of one image [4096, channels * pixels].

    Edges with the same operation on the same side of the stride share their weights, so that two
    cells agree if, and only if, they are the same up to a renaming of weights. The tanh is there
    because all else is positively homogeneous: conv(2 x) would be conv(x) + conv(x).
    """
    torch.manual_seed(0)
    names, channels = spaces.get("transnas101-micro").choices[0].values, 4
    first, later = (
        nn.ModuleList(operation(name, c, channels * stride, s, Mode()) for name in names)
        .double()
        .eval()
        for c, s in ((channels, stride), (channels * stride, 1))
    )

    def edges(x: Tensor, operations: nn.Module) -> list[Tensor]:
        return [
            torch.tanh(y) if any(True for _ in op.parameters()) else y
            for op in operations.children()
            for y in (op(x),)
        ]

    with torch.no_grad():
        source = edges(torch.randn(1, channels, 4, 4, dtype=torch.float64), first)
        node1 = [edges(x, later) for x in source]
        found = []
        for a, b, c in itertools.product(range(4), repeat=3):
            node2 = edges(source[b] + node1[a][c], later)
            for d, e, f in itertools.product(range(4), repeat=3):
                found.append((source[d] + node1[a][e] + node2[f]).flatten())
    return torch.stack(found)


def _partition(keys: list[tuple[int, ...]]) -> set[tuple[int, ...]]:
    members = defaultdict(list)
    for position, key in enumerate(keys):
        members[key].append(position)
    return {tuple(m) for m in members.values()}


def test_micro_cells_share_a_class_if_and_only_if_their_networks_agree() -> None:
    space = spaces.get("transnas101-micro")
    networks = torch.cat([_all_outputs(stride) for stride in (1, 2)], 1)
    rounded = [tuple(row) for row in (networks * 1e9).round().long().tolist()]
    classes = [space.canonical(arch).values for arch in space.architectures()]
    assert len(set(classes)) == 1_229
    assert _partition(classes) == _partition(rounded)
