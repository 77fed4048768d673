"""Every registered supernet goes through the contract."""

from __future__ import annotations

import copy
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas import networks, spaces
from transnas.networks import Form, MixedEdges, Supernet
from transnas.networks.chain_supernet import MixedLayer as ChainLayer
from transnas.networks.darts_recurrent import ACTIVATIONS, highway_step
from transnas.networks.enas_macro_supernet import MixedLayer as MacroLayer
from transnas.networks.proxyless_supernet import MixedBlock
from transnas.networks.recurrent_supernet import DARTSCell, ENASCell
from transnas.networks.relaxations import (
    Binarised,
    Concrete,
    Mix,
    PathDropout,
    Relaxation,
    Sampled,
    Sigmoid,
    Softmax,
    StraightThrough,
    Uniform,
)
from transnas.spaces import Architecture
from transnas.spaces.enas_macro import OPERATIONS
from transnas.tasks import Signature
from transnas.testing.supernets import SupernetContract

torch.set_num_threads(1)
IMAGES, TOKENS = Signature((3, 9, 7), 5), Signature((5,), 11, "language")
DARTS = {"channels": 4, "layers": 3}
NASNET = {"filters": 2, "cells": 1, "stem_channels": 3}
SMALL: dict[str, dict[str, Any]] = {
    "darts": DARTS,
    "darts-none": DARTS,
    "darts-s2": DARTS,
    "darts-s3": DARTS,
    "darts-s4": DARTS,
    "darts-recurrent": {"hidden": 6},
    "enas-macro": {"channels": 4},
    "enas-micro": {"channels": 2, "layers": 3},
    "enas-recurrent": {"hidden": 6},
    "nasbench201": {"channels": 4, "cells": 1},
    "nasnet": NASNET,
    "pnas": NASNET,
    "proxyless": {
        "stem": 4,
        "first": 4,
        "widths": (4, 4, 6, 6, 8, 8),
        "last": 8,
        "stem_stride": 1,
        "strides": (1, 2, 1, 1, 2, 1),
    },
}
"""Skeletons; a space without entry is tested with its own defaults."""


SLOW = ("nasnet", "pnas", "darts-none", "darts-s2", "darts-s3", "enas-micro")
NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in SLOW else [])
    for name in networks.supernets()
]


@functools.cache
def template(name: str, form: Form) -> Supernet:
    """Return the small supernet of a space; building some takes longer than copying them."""
    signature = TOKENS if name.endswith("recurrent") else IMAGES
    return networks.supernet(spaces.get(name), signature, Softmax(), form, **SMALL.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
class TestSupernets(SupernetContract):
    @pytest.fixture
    def make(self, name: str) -> Callable[[Form], Supernet]:
        return lambda form: copy.deepcopy(template(name, form))

    def samples(self, net: Supernet) -> list[Architecture]:
        """With at most one noise: which is drawn first is not part of the contract."""
        found = super().samples(net)
        if net.space.name != "darts-s4":
            return found
        quiet = []
        for arch, edge in zip(found, (None, 2, 19), strict=True):
            values = [
                int("noise" in choice.values) or value
                for choice, value in zip(net.space.choices, arch.values, strict=True)
            ]
            if edge is not None:
                values[edge] = 0
            quiet.append(net.space.architecture(values))
        return quiet


# Against plain execution -------------------------------------------------------------------------


def every_operation_by_itself(edges: MixedEdges, x: Tensor, mix: Mix) -> Iterator[Any]:
    """Run mixed edges the plain way: nothing is shared, folded, or left out of a dense mixture."""
    for row in edges.rows:
        own, terms = edges.edges.get_submodule(str(row)), []
        for code in mix.active(row):
            if code in edges.codes[row]:
                name = edges.operations[code]
                module = edges.shared[name] if name in edges.shared else own.get_submodule(name)
                terms.append(mix.weights[row, code] * module(x))
        if terms:
            yield row, torch.stack(terms).sum(0)


def plain_darts_cell(cell: DARTSCell, x: Tensor, hidden: Tensor, mix: Mix, _: None) -> Tensor:
    """Compute one step edge by edge and activation by activation."""
    mapped = torch.cat([x, hidden], dim=-1) @ cell.first
    states, row = [cell.norm(highway_step(mapped, hidden, "tanh"))], 0
    for weight in cell.weights:
        total = torch.zeros_like(hidden)
        for state in states:
            for code in (code for code in mix.active(row) if code > 0):
                step = highway_step(state @ weight, state, ("", *ACTIVATIONS)[code])
                total = total + mix.weights[row, code] * step
            row += 1
        states.append(cell.norm(total))
    return torch.stack(states[1:]).mean(dim=0)


def plain_enas_cell(cell: ENASCell, x: Tensor, hidden: Tensor, mix: Mix, _: None) -> Tensor:
    """Compute one step state by state and activation by activation."""
    names, mapped = list(ACTIVATIONS), torch.cat([x, hidden], dim=-1) @ cell.first
    weights = torch.stack([row / max(1.0, float(row.detach().sum())) for row in mix.weights])
    first = [weights[0, k] * highway_step(mapped, hidden, names[k])
             for k in range(4) if k in mix.active(0)]  # fmt: skip
    states = [sum(first, torch.zeros_like(hidden))]
    unread = [mix.weights.new_ones(()) for _ in range(len(cell.weights) + 1)]
    for node, weight in enumerate(cell.weights, start=1):
        total = torch.zeros_like(hidden)
        for code in (code for code in mix.active(node) if code < 4 * node):
            j, k = divmod(code, 4)
            step = highway_step(states[j] @ weight[j], states[j], names[k])
            total = total + weights[node, code] * step
        for j in range(node):
            read = weights[node, 4 * j : 4 * j + 4].sum()
            unread[j] = unread[j] * (1 - read).clamp(0, 1)
        states.append(total)
    share = torch.stack(unread)
    return (torch.stack(states) * (share / share.sum())[:, None, None]).sum(0)


PLAIN: dict[type[nn.Module], tuple[str, Callable[..., Any]]] = {
    MixedEdges: ("forward", every_operation_by_itself),
    DARTSCell: ("_step", plain_darts_cell),
    ENASCell: ("_step", plain_enas_cell),
}
RELAXATIONS: list[Callable[[torch.Generator], Relaxation]] = [
    lambda noise: Softmax(),
    lambda noise: Sigmoid(),
    lambda noise: Concrete(0.7, noise),
    lambda noise: StraightThrough(0.7, noise),
    lambda noise: Binarised(2, noise),
    lambda noise: PathDropout(0.3, noise),
    lambda noise: Uniform(noise),
    lambda noise: Sampled(noise),
]
MIXED = [
    pytest.param(name, marks=[pytest.mark.slow] if name in (*SLOW, "darts-s4") else [])
    for name in networks.supernets()
    if name not in ("chain", "enas-macro", "proxyless")
]
"""The others have no second way to run: their modules are the sums of their operations."""


@pytest.mark.parametrize("name", MIXED)
def test_every_relaxation_equals_plain_execution(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = SupernetContract.prepared(
        lambda form: copy.deepcopy(template(name, form)), Form(backend="torch")
    )
    x, leaves = SupernetContract.inputs(net), list(net.parameters())
    dear = name in ("nasnet", "pnas", "darts")  # of the last, `darts-none` has all
    for make in RELAXATIONS[3:6] if dear else RELAXATIONS:
        found = []
        for plain in (False, True):
            with monkeypatch.context() as patch:
                for kind, (method, way) in PLAIN.items() if plain else ():
                    patch.setattr(kind, method, way)
                net.relaxation = make(torch.Generator().manual_seed(5))
                out = SupernetContract.run(net, x)
                found.append([out, *torch.autograd.grad(
                    out.square().mean(), leaves, allow_unused=True, materialize_grads=True
                )])  # fmt: skip
        torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


# Sums without a second way to run -----------------------------------------------------------------


def soft(supernet: Supernet) -> Mix:
    """Return weights that are no shares of one path."""
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(supernet.logits.shape, generator=generator, dtype=torch.float64)
    return Softmax()(supernet._with_gaps(logits))


def test_a_mixed_layer_of_a_chain_is_the_mean_over_its_choices() -> None:
    # Choices are independent, and a convolution is linear in its kernel.
    net = copy.deepcopy(template("chain", Form())).double()
    layer, mix = net.layers[2], soft(net)
    assert isinstance(layer, ChainLayer)
    seen: list[Tensor] = []
    layer.norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    image = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    earlier = [torch.randn(2, layer.most, 5, 6, dtype=torch.float64) for _ in range(2)]
    found = layer(image, earlier, mix)
    rows = [mix.weights[layer.row + i] for i in range(5)]
    total = torch.zeros_like(seen[0])
    for h, w, one, two in itertools.product(range(4), range(4), (0, 1), (0, 1)):
        height, width = layer.sizes[0][h], layer.sizes[1][w]
        parts = [(image, 0)] if not one + two else []
        parts += [(x, 3 + i * layer.most) for i, (x, bit) in
                  enumerate(zip(earlier, (one, two), strict=True)) if bit]  # fmt: skip
        top, left = (7 - height) // 2, (7 - width) // 2
        for x, first in parts:
            kernel = layer.weight[:, first : first + x.shape[1],
                                  top : top + height, left : left + width]  # fmt: skip
            share = rows[0][h] * rows[1][w] * rows[3][one] * rows[4][two]
            total += share * F.conv2d(x, kernel, padding=(height // 2, width // 2)).detach()
    torch.testing.assert_close(seen[0], total)
    kept = sum(
        rows[2][code] * (torch.arange(layer.most) < filters).double()
        for code, filters in enumerate(layer.sizes[2])
    )
    normalised = F.batch_norm(total, None, None, training=True).clamp(min=0)
    torch.testing.assert_close(found.detach(), normalised * kept[:, None, None])


def test_a_chains_classifier_reads_a_layer_by_how_much_of_it_is_unread() -> None:
    net = copy.deepcopy(template("chain", Form())).double()
    mix, read, states = soft(net), [], []
    for layer in net.layers:
        layer.register_forward_hook(lambda _, args, out: states.append(out))
    net.head.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    net(torch.randn(2, 3, 9, 7, dtype=torch.float64), mix)
    means = []
    for i, state in enumerate(states):
        unread = torch.ones((), dtype=torch.float64)
        for layer in list(net.layers)[i + 1 :]:
            unread = unread * mix.weights[layer.row + 3 + i, 0]
        means.append(unread * state.mean(dim=(2, 3)))
    torch.testing.assert_close(read[0], torch.cat(means, dim=1))


def test_mixed_layers_of_enas_and_blocks_of_proxyless_are_their_sums() -> None:
    macro = copy.deepcopy(template("enas-macro", Form())).double()
    mix, layer = soft(macro), macro.network.layers[3]
    assert isinstance(layer, MacroLayer)
    layers = [torch.randn(4, 4, 5, 6, dtype=torch.float64) for _ in range(3)]
    total = sum(
        mix.weights[3, code] * layer.branches[name](layers[2])
        for code, name in enumerate(OPERATIONS)
    )
    first = 12 + 3  # skips into layers 1 and 2 are three rows
    total = total + sum(mix.weights[first + i, 1] * layers[i] for i in range(3))
    expected = F.batch_norm(total, None, None, training=True)
    torch.testing.assert_close(layer(layers, layers[2], mix), expected)

    chain = copy.deepcopy(template("proxyless", Form())).double()
    mix = soft(chain)
    for row, block in enumerate(chain.network.blocks):
        assert isinstance(block, MixedBlock)
        operations = dict(block.operations.named_children())
        x = torch.randn(3, operations["0"][0].in_channels, 6, 5, dtype=torch.float64)
        total = sum(mix.weights[row, int(code)] * op(x) for code, op in operations.items())
        total = total + x if block.shortcut else total
        torch.testing.assert_close(block(x, mix), total)
