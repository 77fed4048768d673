"""Fractal networks: their recursion, their sizes, and both kinds of drop path."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from transnas import InputError, networks, spaces
from transnas.networks.fractal import Block, Network, survivors
from transnas.tasks import Signature

SIGNATURE = Signature((3, 8, 8), 10)


def recursion(block: Block, x: Tensor) -> Tensor:
    """Compute a block of at most two columns by the paper's formula."""
    (first,), (second, third) = block.convolutions  # type: ignore[misc]
    out: Tensor = (third(second(x)) + first(x)) / 2
    return out


def test_two_columns_are_the_formula() -> None:
    block, x = Block(3, 4, 2).double().eval(), torch.randn(2, 3, 8, 8).double()
    torch.testing.assert_close(block(x), recursion(block, x), rtol=1e-12, atol=1e-12)


def test_columns_that_end_together_meet_in_one_join() -> None:
    block, x = Block(3, 4, 3).double().eval(), torch.randn(2, 3, 8, 8).double()
    (a,), (b1, b2), (c1, c2, c3, c4) = block.convolutions  # type: ignore[misc]
    half = (b1(x) + c2(c1(x))) / 2
    whole = (a(x) + b2(half) + c4(c3(half))) / 3
    torch.testing.assert_close(block(x), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("blocks", "columns"), [(2, 1), (3, 2), (5, 3), (2, 4)])
def test_depth_and_parameters_are_those_of_the_recursion(blocks: int, columns: int) -> None:
    net = Network(SIGNATURE, blocks, columns, channels=8)
    longest = 2 ** (columns - 1)
    assert sum(max(len(c) for c in b.convolutions) for b in net.blocks) == blocks * longest  # type: ignore[union-attr,arg-type]
    widths = [8 * min(2**b, 8) for b in range(blocks)]
    expected, before = widths[-1] * 10 + 10, 3
    for width in widths:
        inner = 2**columns - 1 - columns
        expected += 9 * width * (columns * before + inner * width) + 2 * width * (2**columns - 1)
        before = width
    assert sum(p.numel() for p in net.parameters()) == expected


def test_the_published_network_by_its_stated_widths() -> None:
    net = Network(Signature((3, 32, 32), 10))
    weights = sum(m.weight.numel() for m in net.modules() if isinstance(m, nn.Conv2d))
    assert weights == 33_698_880


def test_a_global_column_is_a_chain_of_its_own() -> None:
    net, x = Network(SIGNATURE, 2, 3, 4).double().eval(), torch.randn(2, 3, 8, 8).double()
    for column in range(3):
        net.only = column
        state = x
        for block in net.blocks:
            for unit in block.convolutions[column]:  # type: ignore[union-attr,index]
                state = unit(state)
            state = nn.functional.max_pool2d(state, 2)
        torch.testing.assert_close(net(x), net.head(state.mean(dim=(2, 3))))


def test_local_drop_path_leaves_one_input_at_least_and_drops_at_its_rate() -> None:
    torch.manual_seed(0)
    drawn = Counter(tuple(survivors([0, 1], 0.4)) for _ in range(20_000))
    expected = {(0, 1): 0.36, (0,): 0.24 + 0.08, (1,): 0.24 + 0.08}
    assert set(drawn) == set(expected)
    for kept, share in expected.items():
        assert drawn[kept] / 20_000 == pytest.approx(share, abs=0.012)


def test_both_kinds_of_drop_path_happen_in_training_and_none_in_evaluation() -> None:
    torch.manual_seed(0)
    net = Network(SIGNATURE, 2, 2, 4, drop_path=0.3).train()
    columns = Counter(net._column() for _ in range(6000))
    assert columns[None] / 6000 == pytest.approx(0.5, abs=0.03)
    assert columns[0] / 6000 == pytest.approx(0.25, abs=0.03)
    net.eval()
    assert net._column() is None
    assert net._kept(net.blocks[0], None) is None  # type: ignore[arg-type]


def test_local_drop_path_thins_the_joins_of_a_network() -> None:
    torch.manual_seed(0)
    net = Network(SIGNATURE, 2, 2, 4, drop_path=0.4).train()
    block = net.blocks[0]
    assert isinstance(block, Block)
    drawn = [net._kept(block, None) for _ in range(4000)]
    assert all(kept is not None and kept[0] == [1] for kept in drawn)  # a join of one
    whole = sum(kept is not None and kept[1] == [0, 1] for kept in drawn) / len(drawn)
    assert whole == pytest.approx(0.36, abs=0.03)
    assert net._kept(block, 1) == [[1], [1]]
    assert net._kept(block, 0) == [[], [0]]


def test_a_column_of_many_learns_with_the_others_dropped() -> None:
    torch.manual_seed(0)
    net = Network(Signature((1, 8, 8), 2), 2, 3, 4, drop_path=0.5)
    x = torch.randn(64, 1, 8, 8)
    y = (x.mean(dim=(1, 2, 3)) > 0).long()
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(80):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
    net.eval()
    net.only = 2
    assert float((net(x).argmax(dim=1) == y).float().mean()) > 0.8


def test_built_by_name_and_refused_by_setting() -> None:
    space = spaces.get("fractal")
    arch = space.architecture((3, 2))
    net = networks.build(space, arch, SIGNATURE, channels=4)
    assert net(torch.randn(2, 3, 8, 8)).shape == (2, 10)
    assert len(space.graph(arch).edges) == 7
    with pytest.raises(InputError, match="drop_path"):
        networks.build(space, arch, SIGNATURE, drop_path=1.0)
