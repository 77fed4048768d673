"""Supernets against discrete networks, an edge-by-edge reference, and counts of module calls."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas import InputError, networks, spaces
from transnas.networks import Form, Supernet
from transnas.networks.nasbench201 import MixedCell
from transnas.networks.operations import Pool
from transnas.networks.relaxations import (
    Concrete,
    Mix,
    Relaxation,
    Sigmoid,
    Softmax,
    StraightThrough,
)
from transnas.spaces.nasbench201 import EDGES, OPERATIONS
from transnas.tasks import Signature

torch.set_num_threads(1)
SPACE = spaces.get("nasbench201")
SMALL = Signature((3, 9, 7), 5)


def build(relaxation: Relaxation, seed: int = 0, spread: float = 1.0) -> Supernet:
    """Return a small supernet in float64 with logits of standard deviation `spread`."""
    torch.manual_seed(seed)
    net = networks.supernet(SPACE, SMALL, relaxation, channels=4, cells=2).double()
    nn.init.normal_(net.logits, std=spread)
    return net


def images(seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(6, *SMALL.input_shape, generator=generator, dtype=torch.float64)


def edge_by_edge(net: Supernet, x: Tensor, weights: Tensor) -> Tensor:
    """Compute the supernet the plain way: every operation of every edge, one after the other."""

    def cell(mixed: MixedCell, x: Tensor) -> Tensor:
        nodes = [x]
        for j in (1, 2, 3):
            total = torch.zeros_like(x)
            for e, (i, target) in enumerate(EDGES):
                if target != j:
                    continue
                own = mixed.sources[i].edges[str(e)]
                results = {
                    "none": torch.zeros_like(x),
                    "skip_connect": nodes[i],
                    "avg_pool_3x3": F.avg_pool2d(nodes[i], 3, 1, 1, count_include_pad=False),
                }
                for kernel, name in ((1, "nor_conv_1x1"), (3, "nor_conv_3x3")):
                    conv = own[name].conv
                    out = F.conv2d(F.relu(nodes[i]), conv.weight, conv.bias, padding=kernel // 2)
                    results[name] = F.batch_norm(out, None, None, training=True)
                for code, name in enumerate(OPERATIONS):
                    total = total + weights[e, code] * results[name]
            nodes.append(total)
        return nodes[-1]

    x = net.network.stem(x)
    for layer in net.network.body:
        x = cell(layer, x) if isinstance(layer, MixedCell) else layer(x)
    return net.network.head(F.relu(net.network.norm(x)).mean(dim=(2, 3)))


def test_published_size() -> None:
    with torch.device("meta"):
        net = networks.supernet(SPACE, Signature((3, 32, 32), 10), Softmax())
    assert sum(p.numel() for p in net.shared_weights()) == 1_692_698
    assert net.logits.numel() == 30
    assert len(net.shared_weights()) + 1 == len(list(net.parameters()))


def test_one_path_is_the_discrete_network() -> None:
    net, x = build(Softmax()), images()
    rng = np.random.default_rng(0)
    cells = [SPACE.sample(rng) for _ in range(15)]
    # The output is cut off; a node in the middle is zero.
    cells += [SPACE.architecture((3, 2, 4, 0, 0, 0)), SPACE.architecture((0, 0, 3, 1, 2, 3))]
    for arch in cells:
        discrete = net.discrete(arch).train()
        assert networks.origin(discrete) is not None
        torch.testing.assert_close(net(x, net.path(arch)), discrete(x), rtol=0, atol=1e-10)


def test_discrete_networks_get_copies_and_leave_the_generator_alone() -> None:
    net, x = build(Softmax()), images()
    arch = SPACE.architecture((3, 2, 1, 4, 2, 3))
    before = torch.get_rng_state()
    discrete = net.discrete(arch).train()
    assert torch.equal(torch.get_rng_state(), before)
    expected = net(x, net.path(arch))
    nn.init.zeros_(discrete.head.weight)
    torch.testing.assert_close(net(x, net.path(arch)), expected, rtol=0, atol=0)
    assert not torch.equal(discrete(x), expected)


@pytest.mark.parametrize("relaxation", [Softmax(), Sigmoid()])
def test_mixture_equals_the_edge_by_edge_reference(relaxation: Relaxation) -> None:
    net, x = build(relaxation), images().requires_grad_()
    target = torch.randn(6, SMALL.outputs, generator=torch.Generator().manual_seed(2)).double()
    weights = relaxation(net.logits).weights
    leaves = [x, *net.parameters()]
    found, expected = net(x), edge_by_edge(net, x, weights)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    ours = torch.autograd.grad(F.mse_loss(found, target), leaves)
    reference = torch.autograd.grad(F.mse_loss(expected, target), leaves)
    for gradient, oracle in zip(ours, reference, strict=True):
        torch.testing.assert_close(gradient, oracle, rtol=0, atol=1e-10)


def test_softmax_gradient_is_that_of_its_formula() -> None:
    net, x = build(Softmax()), images()
    shares = net.logits.detach().softmax(dim=1).requires_grad_()
    (by_share,) = torch.autograd.grad(net(x, Mix(shares)).square().sum(), shares)
    (ours,) = torch.autograd.grad(net(x).square().sum(), net.logits)
    mean = (shares * by_share).sum(dim=1, keepdim=True)
    torch.testing.assert_close(ours, shares * (by_share - mean), rtol=1e-10, atol=1e-10)


def test_concrete_tends_to_one_path() -> None:
    relaxation, x = Concrete(1.0, torch.Generator()), images()
    net = build(relaxation)
    relaxation.generator.manual_seed(7)
    warm = relaxation(net.logits).weights.detach()
    path = SPACE.architecture(warm.argmax(dim=1).tolist())
    expected = net(x, net.path(path))
    distances = []
    for temperature in (1.0, 0.1, 1e-2, 1e-4):
        relaxation.temperature = temperature
        relaxation.generator.manual_seed(7)
        distances.append(float((net(x) - expected).abs().max().detach()))
    assert distances[0] > 1e-2
    assert distances[-1] < 1e-10
    assert distances == sorted(distances, reverse=True)


@pytest.mark.parametrize("relaxation", [Concrete, StraightThrough])
@pytest.mark.parametrize("temperature", [0.2, 5.0])
def test_samples_follow_the_softmax(relaxation: type[Concrete], temperature: float) -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, -0.3]).double()
    draws, generator = 100_000, torch.Generator().manual_seed(0)
    weights = relaxation(temperature, generator)(logits.expand(draws, 5)).weights
    counts = torch.bincount(weights.argmax(dim=1), minlength=5)
    expected = draws * logits.softmax(dim=0)
    assert float(((counts - expected) ** 2 / expected).sum()) < 18.47  # 0.999 of chi-square, 4 df


def test_hard_sample_computes_only_its_path() -> None:
    generator = torch.Generator().manual_seed(3)
    net, x = build(StraightThrough(1.0, generator)), images()
    calls: Counter[str] = Counter()
    for name, module in net.network.body.named_modules():
        if ".sources." in name and isinstance(module, (nn.Conv2d, Pool)):
            module.register_forward_hook(lambda *_, name=name: calls.update([name]))
    for _ in range(5):
        calls.clear()
        mix = net.relaxation(net.logits)
        assert set(mix.weights.detach().flatten().tolist()) == {0.0, 1.0}
        assert mix.paths == tuple((code,) for code in mix.weights.argmax(dim=1).tolist())
        net(x, mix)
        names = [OPERATIONS[code] for (code,) in mix.paths]
        pooled = {EDGES[e][0] for e, name in enumerate(names) if name == "avg_pool_3x3"}
        convolutions = sum(name.startswith("nor_conv") for name in names)
        assert sum(calls.values()) == 3 * 2 * (convolutions + len(pooled))


def test_mixture_pools_each_source_once() -> None:
    net, calls = build(Softmax()), Counter[str]()
    for module in net.modules():
        if isinstance(module, Pool):
            module.register_forward_hook(lambda *_: calls.update(["pool"]))
    net(images())
    assert calls["pool"] == 3 * 2 * 3


def test_straight_through_gradient_is_the_hand_made_one() -> None:
    temperature, x = 0.7, images()
    net = build(StraightThrough(temperature, torch.Generator().manual_seed(5)))
    (ours,) = torch.autograd.grad(net(x).square().sum(), net.logits)

    generator = torch.Generator().manual_seed(5)
    soft = Concrete(temperature, generator)(net.logits.detach()).weights
    chosen = soft.argmax(dim=1)
    coefficients = F.one_hot(chosen, 5).double().requires_grad_()
    mix = Mix(coefficients, tuple((code,) for code in chosen.tolist()))
    (by_weight,) = torch.autograd.grad(net(x, mix).square().sum(), coefficients)
    g = by_weight.gather(1, chosen[:, None])  # <dL/dy, o(x)> of the sampled operation
    share = soft.gather(1, chosen[:, None])
    by_hand = g * share * (F.one_hot(chosen, 5) - soft) / temperature
    assert float(ours.abs().max()) > 0
    torch.testing.assert_close(ours, by_hand, rtol=1e-10, atol=1e-10)


def test_own_generator_leaves_the_global_one_alone() -> None:
    logits, before = torch.zeros(6, 5), torch.get_rng_state()
    one = Concrete(1.0, torch.Generator().manual_seed(1))(logits).weights
    assert torch.equal(torch.get_rng_state(), before)
    two = Concrete(1.0, torch.Generator().manual_seed(1))(logits).weights
    assert torch.equal(one, two)


def test_derives_the_strongest_operations() -> None:
    net = build(Softmax())
    cell = SPACE.architecture((3, 0, 1, 4, 2, 3))
    with torch.no_grad():
        net.logits.copy_(F.one_hot(torch.tensor(cell.values), 5))
    assert net.derive() == cell
    nn.init.zeros_(net.logits)
    assert net.derive() == SPACE.architecture((0,) * 6)
    nn.init.constant_(net.logits, float("nan"))
    with pytest.raises(InputError, match="not finite"):
        net.derive()


def test_evaluation_mode_uses_batch_statistics_too() -> None:
    net, x = build(Softmax()), images()
    torch.testing.assert_close(net.train()(x), net.eval()(x), rtol=0, atol=0)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="temperature is 0"):
        Concrete(0.0)
    with pytest.raises(InputError, match="temperature is -1"):
        StraightThrough(-1.0)
    with pytest.raises(InputError, match="did you mean 'channels'"):
        networks.supernet(SPACE, SMALL, Softmax(), chanels=4)
    with pytest.raises(InputError, match=r"space .nasbench-macro. is unknown"):
        networks.supernet(spaces.get("nasbench-macro"), SMALL, Softmax())
    with pytest.raises(InputError, match="no sums of mixed edges"):
        networks.supernet(spaces.get("chain"), SMALL, Softmax(), Form(partial=2))
    with pytest.raises(InputError, match="divisor of 6"):
        networks.supernet(SPACE, SMALL, Softmax(), Form(partial=4), channels=6)
    with pytest.raises(InputError, match="backend is 'cuda'"):
        Form(backend="cuda")
    assert "nasbench201" in networks.supernets()
