"""NASNet and PNAS networks: published parameter counts, and every sampled cell builds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from transnas import InputError, networks, spaces
from transnas.evaluation.training import Recipe, fit, workplace
from transnas.networks.nasnet import Cell as NetworkCell
from transnas.networks.nasnet import Inputs, Layer, Network, Skeleton, nasnet_layers, pnas_layers
from transnas.spaces.nasnet import Block, Cell
from transnas.tasks import Signature

CIFAR10, IMAGENET = Signature((3, 32, 32), 10), Signature((3, 224, 224), 1000)
NAMES = {
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "sep7": "sep_conv_7x7",
    "avg": "avg_pool_3x3",
    "max": "max_pool_3x3",
    "id": "skip_connect",
}


def cell(text: str, *outputs: int) -> Cell:
    pairs = [(int(s), NAMES[op]) for op, s in (word.split(":") for word in text.split())]
    return Cell(tuple(Block((a, b)) for a, b in zip(pairs[::2], pairs[1::2], strict=True)), outputs)


NORMAL = cell("sep5:0 sep3:1 sep5:1 sep3:1 avg:0 id:1 avg:1 avg:1 sep3:0 id:0", 1, 2, 3, 4, 5, 6)
REDUCTION = cell("sep5:0 sep7:1 max:0 sep7:1 avg:0 sep5:1 id:3 avg:2 sep3:2 max:0", 3, 4, 5, 6)
PNASNET_5 = cell("sep5:1 max:1 sep7:0 max:0 sep5:0 sep3:0 sep3:4 max:0 sep3:1 id:0", 2, 3, 4, 5, 6)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("signature", "skeleton", "parameters"),
    [
        (CIFAR10, Skeleton(32, 6, 96), 3_346_538),
        (IMAGENET, Skeleton(44, 4, 32, "imagenet"), 5_289_978),
        (Signature((3, 224, 224), 1001), Skeleton(44, 4, 32, "imagenet"), 5_291_035),
        (Signature((3, 331, 331), 1000), Skeleton(168, 6, 96, "imagenet"), 88_753_150),
    ],
)
def test_nasnet_a_counts_as_published(
    signature: Signature, skeleton: Skeleton, parameters: int
) -> None:
    with torch.device("meta"):
        network = Network(nasnet_layers(NORMAL, REDUCTION, skeleton), signature, skeleton)
    assert count(network) == parameters


@pytest.mark.parametrize(
    ("signature", "skeleton", "parameters"),
    [
        (CIFAR10, Skeleton(48, 3, 144), 3_189_082),
        (IMAGENET, Skeleton(54, 3, 32, "imagenet"), 5_064_487),
        (Signature((3, 331, 331), 1000), Skeleton(216, 4, 96, "imagenet"), 86_057_668),
    ],
)
def test_pnasnet_5_counts_as_published(
    signature: Signature, skeleton: Skeleton, parameters: int
) -> None:
    with torch.device("meta"):
        network = Network(pnas_layers(PNASNET_5, skeleton), signature, skeleton)
    assert count(network) == parameters


@pytest.mark.parametrize("name", ["nasnet", "pnas"])
@pytest.mark.parametrize(
    "skeleton", [{}, {"stem": "imagenet"}], ids=["cifar stem", "imagenet stem"]
)
def test_every_sampled_cell_builds_and_learns_on_odd_maps(
    name: str, skeleton: dict[str, Any]
) -> None:
    space = spaces.get(name)
    rng = np.random.default_rng(0)
    for _ in range(3):
        network = networks.build(
            space,
            space.sample(rng),
            Signature((1, 33, 27), 3),
            filters=4,
            cells=1,
            stem_channels=6,
            **skeleton,
        )
        out = network(torch.randn(2, 1, 33, 27))
        out.sum().backward()
        assert out.shape == (2, 3)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_scheduled_drop_path_grows_with_depth_and_step_and_spares_evaluation() -> None:
    torch.manual_seed(0)
    space = spaces.get("nasnet")
    arch = space.sample(np.random.default_rng(0))
    network = networks.build(space, arch, CIFAR10, filters=4, cells=1, stem_channels=6)
    assert isinstance(network, Network)
    x, rates = torch.randn(4, 3, 8, 8), []
    for cell in network.cells:
        cell.register_forward_pre_hook(lambda module, args: rates.append(module.drop_path))
    still = network.eval()(x)
    network.drop_path = 0.4
    assert torch.equal(network(x), still)
    # r_l (1 - keep) with r_l = l / L: stages of a cell each, reductions counted.
    assert rates[5:] == pytest.approx([0.08, 0.16, 0.24, 0.32, 0.4])
    network.train()
    assert not torch.equal(network(x), network(x))
    # What fit sets reaches recipe.drop_path (steps - 1) / steps.
    data = TensorDataset(torch.randn(16, 3, 8, 8), torch.arange(16) % 2)
    fit(network, data, None, Recipe(batch_size=4, drop_path=0.5), epochs=2, at=workplace("cpu"))
    assert network.drop_path == pytest.approx(0.5 * 7 / 8)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_cell_equals_its_definition_written_out(stride: int) -> None:
    torch.manual_seed(0)
    pairs = (
        ((0, "max_pool_5x5"), (1, "skip_connect")),
        ((2, "avg_pool_3x3"), (0, "sep_conv_3x3")),
    )
    blocks = (Block(pairs[0], "concat"), Block(pairs[1], "add"))
    cell = NetworkCell(
        Layer(Cell(blocks, (1, 3)), 4, stride), Inputs(6, 5, older_stride=2, first=False)
    )
    newer, older = torch.randn(2, 6, 8, 8), torch.randn(2, 5, 16, 16)
    s0, s1 = cell.newer(newer), cell.older(older)
    assert s0.shape == s1.shape == (2, 4, 8, 8)
    e = list(cell.edges)
    pool = nn.functional.max_pool2d(s0, 5, stride, 2)
    s2 = torch.cat([pool, e[1](s1)], dim=1)
    assert isinstance(e[1], nn.Identity) == (stride == 1)
    change, norm = e[2][1], e[2][2]
    mean = norm(change(nn.functional.avg_pool2d(s2, 3, 1, 1, count_include_pad=False)))
    s3 = mean + e[3](s0)
    kept = s1 if stride == 1 else cell.kept[0](s1)
    assert cell.channels == 8
    torch.testing.assert_close(cell(newer, older), torch.cat([kept, s3], dim=1))


def test_the_classifier_reads_rectified_means_of_the_last_cell() -> None:
    torch.manual_seed(0)
    space = spaces.get("nasnet")
    arch = space.sample(np.random.default_rng(1))
    network = networks.build(space, arch, CIFAR10, filters=4, cells=1, stem_channels=6).eval()
    read: list[Tensor] = []
    seen: list[tuple[Tensor, ...]] = []
    for cell in network.cells:
        cell.register_forward_hook(lambda module, args, out: seen.append((*args, out)))
    network.head.register_forward_pre_hook(lambda module, args: read.append(args[0]))
    network(torch.randn(2, 3, 16, 16))
    outs = [found[-1] for found in seen]
    torch.testing.assert_close(read[0], outs[-1].clamp(min=0).mean(dim=(2, 3)))
    # A cell reads the outputs of the two before it, the newer one first.
    for i in range(2, len(outs)):
        newer, older = seen[i][:2]
        assert newer is outs[i - 1]
        assert older is outs[i - 2]
    first_newer, first_older = seen[0][:2]
    assert first_newer is first_older


def test_drop_path_is_refused_where_there_are_no_paths() -> None:
    data = TensorDataset(torch.randn(16, 3), torch.arange(16) % 2)
    with pytest.raises(InputError, match=r"recipe field 'drop_path' is 0\.5"):
        fit(nn.Linear(3, 2), data, None, Recipe(drop_path=0.5), epochs=1, at=workplace("cpu"))
