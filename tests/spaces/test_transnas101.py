"""The TransNAS spaces against the benchmark's own lists."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from transnas import spaces


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
