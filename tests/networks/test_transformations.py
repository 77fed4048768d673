"""Transformed networks compute what they computed before, to 1e-5, and grow as predicted."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from transnas import InputError, networks, spaces
from transnas.networks.path_level import PathLevelNetwork
from transnas.networks.transformations import Concatenated, deeper, replicate, split
from transnas.tasks import Signature


def settled(network: nn.Module) -> nn.Module:
    """Return `network` in evaluation mode, with running statistics and affine terms of its own."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    network.train()
    for _ in range(3):
        network(torch.randn(8, 3, 9, 9) * 2 + 1)
    return network.eval()


def net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 5, 5, padding=2, groups=5, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.Conv2d(5, 6, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 4),
    )


def same(network: nn.Module, before: torch.Tensor, x: torch.Tensor) -> None:
    with torch.no_grad():
        assert float((network(x) - before).abs().max()) < 1e-5


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_deepening_keeps_the_function(kernel: int, depthwise: bool) -> None:
    torch.manual_seed(kernel)
    network, x = settled(net()), torch.randn(4, 3, 9, 9)
    before = network(x).detach()
    layers = list(network)
    grown = nn.Sequential(*layers[:3], deeper(5, kernel, depthwise), *layers[3:]).eval()
    same(grown, before, x)


EDGES = {
    "conv": nn.Conv2d(6, 7, 3, padding=1),
    "strided conv": nn.Conv2d(6, 7, 3, stride=2, padding=1, bias=False),
    "depthwise": nn.Conv2d(6, 6, 5, padding=2, groups=6),
    "max": nn.MaxPool2d(3, 2, 1),
    "avg": nn.AvgPool2d(3, 1, 1, count_include_pad=False),
    "identity": nn.Identity(),
}


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("branches", [2, 3, 4])
def test_splitting_and_replicating_an_edge_keep_the_function(name: str, branches: int) -> None:
    edge, x = EDGES[name], torch.randn(2, 6, 8, 8)
    before = edge(x).detach()
    parts = split(edge, before.shape[1], branches)
    assert isinstance(parts, Concatenated)
    assert len(parts.branches) == branches
    size = sum(p.numel() for p in edge.parameters())
    assert sum(p.numel() for p in parts.parameters()) == size
    same(parts, before, x)
    copies = replicate(edge, branches)
    assert sum(p.numel() for p in copies.parameters()) == branches * size
    same(copies, before, x)
    # One inside the other: a tree of paths.
    same(replicate(split(edge, before.shape[1], 2), branches), before, x)


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_new_layer_passes_on_what_is_not_negative(depthwise: bool) -> None:
    layer, x = deeper(5, 3, depthwise).double().eval(), torch.rand(2, 5, 4, 6).double()
    torch.testing.assert_close(layer(x), x, rtol=1e-7, atol=0)
    assert not layer(-x).any()


def test_noise_is_in_deviations_of_a_weight_tensor() -> None:
    torch.manual_seed(0)
    edge = nn.Sequential(nn.Conv2d(20, 30, 3), nn.BatchNorm2d(30))
    with torch.no_grad():
        edge[0].weight.mul_(1e-3)
    generator = torch.Generator().manual_seed(0)
    first, second = replicate(edge, 2, generator, noise=0.2).branches
    assert torch.equal(first[0].weight, edge[0].weight)  # the first copy is as it was
    change = (second[0].weight - edge[0].weight).detach()
    assert float(change.std() / edge[0].weight.detach().std()) == pytest.approx(0.2, rel=0.05)
    for one, two in zip(first[1].state_dict().values(), second[1].state_dict().values(),
                        strict=True):  # fmt: skip
        assert torch.equal(one, two)


def test_parts_of_a_depthwise_edge_can_be_split_again() -> None:
    edge, x = EDGES["depthwise"], torch.randn(2, 6, 8, 8)
    before, halves = edge(x).detach(), split(edge, 6, 2)
    halves.branches[1] = split(halves.branches[1], 3, 3)
    same(halves, before, x)


def test_stages_have_so_many_cells_and_halve_the_map_between_them() -> None:
    space = spaces.get("path-level")
    network = networks.build(space, space.at(0), Signature((3, 12, 8), 5), channels=4, cells=2)
    assert isinstance(network, PathLevelNetwork)
    seen: list[tuple[int, ...]] = []
    for cell in network.cells:
        edge = cell[0]  # type: ignore[index]
        edge.register_forward_hook(lambda _, args, out: seen.append(tuple(out.shape[1:])))
    network(torch.randn(2, 3, 12, 8))
    assert seen == [(4, 12, 8)] * 2 + [(8, 6, 4)] * 2 + [(16, 3, 2)] * 2


def test_copies_are_independent_of_the_edge() -> None:
    edge, x = nn.Conv2d(2, 2, 1), torch.randn(1, 2, 3, 3)
    before, copies = edge(x).detach(), replicate(edge)
    nn.init.zeros_(edge.weight)
    same(copies, before, x)


def test_what_cannot_be_transformed_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be split"):
        split(nn.ReLU(), 4)
    with pytest.raises(InputError, match="branches 5 of 4 channels"):
        split(nn.Identity(), 4, 5)
