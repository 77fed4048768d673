"""DARTS networks: published parameter and multiply-add counts, odd sizes, drop path, heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from published_cells import CELLS, genotype
from torch import Tensor, nn
from torch.nn import functional as F

from transnas import InputError, networks, spaces
from transnas.evaluation._counting import flops
from transnas.networks.darts import Cell, Network, Skeleton, drop_path
from transnas.networks.operations import Mode
from transnas.networks.separable import (
    AsymmetricConv,
    DepthwisePointwise,
    SeparableConv,
    cell_operation,
)
from transnas.spaces._cells import Block
from transnas.spaces.darts import DARTS, OPERATIONS
from transnas.tasks import Signature

CIFAR10, CIFAR100 = Signature((3, 32, 32), 10), Signature((3, 32, 32), 100)
IMAGENET = Signature((3, 224, 224), 1000)
LARGE = {"channels": 48, "layers": 14, "stem": "imagenet"}


def meta(name: str, signature: Signature, **skeleton: Any) -> Network:
    with torch.device("meta"):
        return Network(genotype(name), signature, Skeleton(**skeleton))


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def macs_of(network: nn.Module, signature: Signature) -> float:
    """Multiply-adds of convolutions and classifier for one image, in millions."""
    return round(flops(network, signature) / 1e6, 2)


@pytest.mark.parametrize(
    ("name", "cifar10", "auxiliary", "cifar100", "macs"),
    [
        ("DARTS_V1", 3_169_414, 3_645_840, 3_221_344, 500.99),
        ("DARTS_V2", 3_349_342, 3_825_768, 3_401_272, 528.36),
        ("PC_DARTS_cifar", 3_634_678, 4_111_104, 3_686_608, 556.67),
        ("PC_DARTS_image", 3_721_510, 4_197_936, 3_773_440, 570.47),
        ("P_DARTS", 3_433_798, 3_910_224, 3_485_728, 532.17),
        ("NASNet_A", 3_830_950, 4_288_944, 3_895_840, 603.45),
        ("AmoebaNet_A", 3_145_078, 3_603_072, 3_184_048, 488.93),
        ("GDAS_V1", 3_368_782, None, None, None),
        ("SNAS_mild", 2_661_382, None, None, None),
        ("SNAS_moderate", 2_847_358, None, None, None),
        ("SNAS_aggressive", 2_313_622, None, None, None),
    ],
)
def test_cifar_networks_count_as_published(
    name: str, cifar10: int, auxiliary: int | None, cifar100: int | None, macs: float | None
) -> None:
    network = meta(name, CIFAR10)
    assert count(network) == cifar10
    if auxiliary and cifar100 and macs:
        assert count(meta(name, CIFAR10, auxiliary=True)) == auxiliary
        assert count(meta(name, CIFAR100)) == cifar100
        assert macs_of(network, CIFAR10) == macs


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("DARTS_V1", 4_510_432, 505.86),
        ("DARTS_V2", 4_718_752, 529.91),
        ("PC_DARTS_cifar", 5_270_560, 571.14),
        ("PC_DARTS_image", 5_342_464, 581.63),
        ("P_DARTS", 4_944_352, 542.82),
        ("NASNet_A", 5_564_320, 604.03),
        ("AmoebaNet_A", 4_627_360, 526.75),
        ("GDAS_V1", 4_969_216, None),
        ("SNAS_mild", 3_939_328, None),
        ("SNAS_moderate", 4_312_576, None),
        ("SNAS_aggressive", 3_561_952, None),
    ],
)
def test_imagenet_networks_count_as_published(
    name: str, parameters: int, macs: float | None
) -> None:
    network = meta(name, IMAGENET, **LARGE)
    assert count(network) == parameters
    if macs:
        assert macs_of(network, IMAGENET) == macs


def test_the_small_search_network_counts_as_published() -> None:
    assert count(meta("DARTS_V2", CIFAR10, channels=16, layers=8)) == 246_106


def test_every_sampled_architecture_builds_and_learns_on_odd_maps() -> None:
    rng = np.random.default_rng(0)
    for name in ("darts", "darts-none", "darts-s4"):
        space = spaces.get(name)
        network = networks.build(
            space, space.sample(rng), Signature((1, 15, 13), 3), channels=4, layers=3
        )
        out = network(torch.randn(2, 1, 15, 13))
        out.sum().backward()
        assert out.shape == (2, 3)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("name", [*OPERATIONS, "sep_conv_7x7", "conv_7x1_1x7", "noise"])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 1)])
def test_operations_halve_maps_upwards(name: str, size: tuple[int, int]) -> None:
    x = torch.randn(2, 4, *size)
    for stride in (1, 2):
        halved = tuple(-(-side // stride) for side in size)
        assert cell_operation(name, 4, 4, stride)(x).shape == (2, 4, *halved)


def test_a_cell_equals_its_definition_written_out() -> None:
    torch.manual_seed(0)
    plan = genotype("DARTS_V2").normal
    cell = Cell(plan, (6, 8), 4, reduces=False, previous_reduces=True, mode=Mode()).double()
    older, newer = torch.randn(2, 6, 8, 8).double(), torch.randn(2, 8, 4, 4).double()
    e = list(cell.edges)
    s0, s1 = cell.older(older), cell.newer(newer)
    s2 = e[0](s0) + e[1](s1)
    s3 = e[2](s0) + e[3](s1)
    s4 = e[4](s1) + s0
    s5 = s0 + e[7](s2)
    assert torch.equal(cell(older, newer), torch.cat([s2, s3, s4, s5], dim=1))


@pytest.mark.parametrize("stride", [1, 2])
def test_separable_dilated_and_asymmetric_convolutions_are_their_definitions(stride: int) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 9, 8)

    def normalised(y: Tensor) -> Tensor:
        return F.batch_norm(y, None, None, training=True)

    def pair(unit: DepthwisePointwise, y: Tensor, stride: int, dilation: int) -> Tensor:
        kernel = unit.depthwise.weight
        padding = dilation * (kernel.shape[-1] // 2)
        y = F.conv2d(y.clamp(min=0), kernel, None, stride, padding, dilation, groups=y.shape[1])
        return normalised(F.conv2d(y, unit.pointwise.weight))

    separable = cell_operation("sep_conv_5x5", 4, 6, stride)
    assert isinstance(separable, SeparableConv)
    once = pair(separable.first, x, stride, 1)
    torch.testing.assert_close(separable(x), pair(separable.second, once, 1, 1))

    dilated = cell_operation("dil_conv_3x3", 4, 6, stride)
    assert isinstance(dilated, DepthwisePointwise)
    torch.testing.assert_close(dilated(x), pair(dilated, x, stride, 2))

    asymmetric = cell_operation("conv_7x1_1x7", 4, 6, stride)
    assert isinstance(asymmetric, AsymmetricConv)
    row, column = asymmetric.row.weight, asymmetric.column.weight
    assert (row.shape, column.shape) == ((6, 4, 1, 7), (6, 6, 7, 1))
    y = F.conv2d(x.clamp(min=0), row, None, (1, stride), (0, 3))
    torch.testing.assert_close(
        asymmetric(x), normalised(F.conv2d(y, column, None, (stride, 1), (3, 0)))
    )


def test_identities_are_never_dropped() -> None:
    plan = genotype("DARTS_V2").normal
    skips = replace(plan, blocks=tuple(Block(((0, "skip_connect"), (1, "skip_connect")))
                                       for _ in plan.blocks))  # fmt: skip
    cell = Cell(skips, (4, 4), 4, reduces=False, previous_reduces=False, mode=Mode()).train()
    x = torch.randn(6, 4, 5, 5)
    assert torch.equal(cell(x, x, 0.9), cell(x, x))
    with_convolutions = Cell(
        plan, (4, 4), 4, reduces=False, previous_reduces=False, mode=Mode()
    ).train()
    assert not torch.equal(with_convolutions(x, x, 0.9), with_convolutions(x, x))


def test_drop_path_drops_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    x = torch.ones(4000, 2, 1, 1)
    dropped = drop_path(x, 0.25)
    assert ((dropped == 0) | (dropped == 1 / 0.75)).all()
    assert (dropped[:, 0] == dropped[:, 1]).all()
    # The share of 4000 draws lies within 4 standard deviations (0.0068 each) of 0.25.
    assert abs((dropped == 0).float().mean().item() - 0.25) < 0.028
    assert drop_path(x, 0.0) is x


def test_drop_path_acts_in_training_only() -> None:
    torch.manual_seed(0)
    network = Network(genotype("DARTS_V2"), CIFAR10, Skeleton(channels=4, layers=3, drop_path=0.5))
    x = torch.randn(4, 3, 16, 16)
    network.eval()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))
    network.drop_path = 0.0
    assert torch.equal(network(x), network(x))


def test_the_auxiliary_head_reads_the_second_reduction() -> None:
    network = Network(genotype("DARTS_V2"), CIFAR10, Skeleton(4, 6, auxiliary=True))
    x = torch.randn(2, 3, 32, 32)
    out, auxiliary = network.with_auxiliary(x)
    assert out.shape == auxiliary.shape == (2, 10)
    auxiliary.sum().backward()
    reached = [any(p.grad is not None for p in cell.parameters()) for cell in network.cells]
    assert reached == [True] * 5 + [False]
    with torch.device("meta"):
        large = Network(genotype("DARTS_V2"), IMAGENET, Skeleton(4, 3, "imagenet", auxiliary=True))
        assert large.with_auxiliary(torch.zeros(2, 3, 224, 224))[1].shape == (2, 1000)


@pytest.mark.parametrize(
    ("skeleton", "reason"),
    [
        ({"layers": 0}, "'layers' is 0"),
        ({"stem": "mnist"}, "'stem' is 'mnist'; accepted: cifar, imagenet"),
        ({"drop_path": 1.0}, "'drop_path' is 1.0"),
        ({"auxiliary": True}, "more than 28 pixels"),
        ({"width": 3}, "'width' is unknown"),
    ],
)
def test_bad_skeletons_are_refused(skeleton: dict[str, Any], reason: str) -> None:
    space = spaces.get("darts")
    assert isinstance(space, DARTS)
    arch = space.from_genotype(genotype("DARTS_V2"))
    with pytest.raises(InputError, match=reason):
        networks.build(space, arch, Signature((3, 16, 16), 10), **skeleton)


def test_published_cells_are_of_the_space() -> None:
    for name in CELLS[:-2]:
        space = spaces.get("darts-none" if name == "SNAS_aggressive" else "darts")
        assert isinstance(space, DARTS)
        arch = space.from_genotype(genotype(name))
        assert space.from_text(space.to_text(arch)) == arch
