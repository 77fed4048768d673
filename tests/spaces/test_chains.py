"""Spaces that are chains: ENAS macro, ProxylessNAS, and convolutions with anchors."""

from __future__ import annotations

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.spaces._skips import ChainSpace
from transnas.spaces.proxyless import ProxylessNAS


@pytest.mark.parametrize(
    ("name", "size", "neighbours"),
    [
        ("enas-macro", 6**12 * 2**66, 12 * 5 + 66),
        ("chain", 64**6 * 2**15, 6 * 9 + 15),
        ("proxyless", 6**6 * 7**15, 6 * 5 + 15 * 6),
    ],
)
def test_sizes_and_neighbours_are_as_published(name: str, size: int, neighbours: int) -> None:
    space = spaces.get(name)
    assert space.size == size
    assert len(space.neighbours(space.sample(np.random.default_rng(0)))) == neighbours


def test_tokens_and_bits_are_read_layer_by_layer() -> None:
    space = spaces.get("chain")
    assert isinstance(space, ChainSpace)
    arch = space.from_text(
        "0 1 2 / 1 1 0 1 / 2 2 3 0 1 / 0 0 0 0 0 0 / 3 3 1 1 0 0 1 / " + "0 " * 8
    )
    chain = space.chain(arch)
    assert chain[0] == (("1", "3", "48"), ())
    assert chain[2] == (("5", "5", "64"), (1,))
    assert chain[4] == (("7", "7", "36"), (0, 3))
    edges = space.graph(arch).edges
    assert ("image", "layer 3", "1 1 24") in edges
    assert {s for s, t, _ in edges if t == "layer 4"} == {"layer 0", "layer 3"}


def test_skips_of_a_sequential_chain_come_beside_the_operation() -> None:
    space = spaces.get("enas-macro")
    codes = [0, 1, 1, *[0] * (len(space.choices) - 3)]
    edges = space.graph(space.architecture(codes)).edges
    assert ("image", "layer 0", "conv_3x3") in edges
    assert ("layer 0", "layer 1", "sep_3x3") in edges
    assert ("layer 0", "layer 1", "skip") in edges
    assert sum(label == "skip" for _, _, label in edges) == 1
    with pytest.raises(InputError, match="78 integers"):
        space.from_text("0 1 1")
    with pytest.raises(InputError, match="78 integers"):
        space.from_text(" ".join(["9" * 5000] * 78))


def test_blocks_left_out_have_one_canonical_place() -> None:
    space = spaces.get("proxyless")
    assert isinstance(space, ProxylessNAS)
    rest = "/".join(["mb3_k3,mb3_k3,mb3_k3,mb3_k3"] * 4 + ["mb6_k7"])
    forms = {
        space.canonical(space.from_text(f"{stage}/{rest}"))
        for stage in ("mb3_k3,zero,mb3_k5,mb6_k3", "mb3_k3,mb3_k5,zero,mb6_k3")
    }
    assert [space.to_text(a) for a in forms] == [f"mb3_k3,mb3_k5,mb6_k3,zero/{rest}"]
    with pytest.raises(InputError, match="stage 1 block 1"):
        space.from_text(f"zero,mb3_k3,mb3_k3,mb3_k3/{rest}")
    (path,) = space.paths(forms.pop())
    assert len(path) == 20
