"""The DARTS supernet against published sizes, discrete cells and an edge-by-edge reference."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas import networks, spaces
from transnas.networks import Supernet
from transnas.networks.darts import Network, Skeleton
from transnas.networks.darts_supernet import EDGES, MODE, MixedCell
from transnas.networks.relaxations import Relaxation, Sigmoid, Softmax, StraightThrough
from transnas.spaces.darts import DARTS
from transnas.tasks import Signature

torch.set_num_threads(1)
SOFTMAX = Softmax()
SMALL = Signature((3, 9, 7), 5)


def build(name: str = "darts", relaxation: Relaxation = SOFTMAX) -> tuple[DARTS, Supernet]:
    """Return a space and its small supernet in float64, with logits of standard deviation 1."""
    torch.manual_seed(0)
    space = spaces.get(name)
    assert isinstance(space, DARTS)
    net = networks.supernet(space, SMALL, relaxation, channels=4, layers=3).double()
    nn.init.normal_(net.logits)
    return space, net


def images() -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(4, *SMALL.input_shape, generator=generator, dtype=torch.float64)


def edge_by_edge(net: Supernet, x: Tensor, weights: Tensor) -> Tensor:
    """Compute the supernet the plain way: every operation of every edge, one after the other."""

    def cell(mixed: MixedCell, older: Tensor, newer: Tensor) -> Tensor:
        states = [mixed.older(older), mixed.newer(newer)]
        for node in (2, 3, 4, 5):
            terms = []
            for e, (source, target) in enumerate(EDGES):
                if target != node:
                    continue
                held, row = mixed.sources[source], mixed.first_row + e
                for code, name in enumerate(net.darts.operations):
                    module = (
                        held.shared[name] if name in held.shared else held.edges[str(row)][name]
                    )
                    terms.append(weights[row, code] * module(states[source]))
            states.append(torch.stack(terms).sum(0))
        return torch.cat(states[2:], dim=1)

    older = net.network.stem[0](x)
    newer = net.network.stem[1](older)
    for mixed in net.network.cells:
        older, newer = newer, cell(mixed, older, newer)
    return net.network.head(newer.mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("layers", "weights"),
    [(8, 1_930_618), (5, 1_275_834), (11, 2_585_146), (17, 3_894_202)],
)
def test_published_sizes(layers: int, weights: int) -> None:
    with torch.device("meta"):
        net = networks.supernet(
            spaces.get("darts"), Signature((3, 32, 32), 10), Softmax(), channels=16, layers=layers
        )
    assert sum(p.numel() for p in net.shared_weights()) == weights
    assert net.logits.numel() == 2 * 112


@pytest.mark.parametrize("name", ["darts", "darts-s2", "darts-s3"])
def test_one_path_is_the_discrete_network(name: str) -> None:
    (space, net), x = build(name), images()
    rng = np.random.default_rng(0)
    for arch in [space.sample(rng) for _ in range(6)]:
        discrete = Network(space.genotype(arch), SMALL, Skeleton(channels=4, layers=3), MODE)
        net.copy_into(discrete.double(), arch)
        torch.testing.assert_close(net(x, net.path(arch)), discrete(x), rtol=0, atol=1e-10)


def test_discrete_network_is_the_ordinary_one_and_equal_where_nothing_is_pooled() -> None:
    (space, net), x = build("darts-s2"), images()
    arch = space.sample(np.random.default_rng(3))
    discrete = net.discrete(arch).train()
    assert networks.origin(discrete) is not None
    torch.testing.assert_close(net(x, net.path(arch)), discrete(x), rtol=0, atol=1e-10)


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()])
def test_mixture_equals_the_edge_by_edge_reference(relaxation: Relaxation) -> None:
    _, net = build(relaxation=relaxation)
    x = images().requires_grad_()
    leaves = [x, *net.parameters()]
    found, expected = net(x), edge_by_edge(net, x, relaxation(net.logits).weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    ours = torch.autograd.grad(found.square().sum(), leaves)
    reference = torch.autograd.grad(expected.square().sum(), leaves)
    for gradient, oracle in zip(ours, reference, strict=True):
        torch.testing.assert_close(gradient, oracle, rtol=1e-10, atol=1e-10)


def test_hard_sample_is_a_path_with_a_gradient() -> None:
    _, net = build(relaxation=StraightThrough(1.0, torch.Generator().manual_seed(0)))
    mix = net.relaxation(net.logits)
    out = net(images(), mix)
    expected = edge_by_edge(net, images(), F.one_hot(mix.weights.argmax(1), 8).double())
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-10)
    (gradient,) = torch.autograd.grad(out.square().sum(), net.logits)
    none = torch.tensor([path == (0,) for path in mix.paths])
    assert (gradient[~none].abs().amax(dim=1) > 0).any()
    assert float(gradient[none].abs().sum()) == 0.0


def test_derives_two_edges_a_node_by_their_strongest_operation() -> None:
    space, net = build()
    arch = space.sample(np.random.default_rng(1))
    with torch.no_grad():
        net.logits.copy_(net.path(arch).weights)
        assert net.derive() == arch
        net.logits[:, 0] = 0.5  # `none` takes its share of every edge, and is never chosen
        assert net.derive() == arch
        net.logits.zero_()
    cells = space.cells(net.derive())
    assert {pair for b in cells["normal"].blocks for pair in b.pairs} == {
        (0, "max_pool_3x3"),
        (1, "max_pool_3x3"),
    }
