"""Recurrent trees as networks: the published example by hand, symmetries, and training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transnas import networks, spaces
from transnas.networks.darts_recurrent import LanguageModel
from transnas.networks.recurrent_tree import TreeRecurrentCell
from transnas.spaces.recurrent_tree import RecurrentTree
from transnas.tasks import Signature


@pytest.mark.parametrize("seed", range(3))
def test_the_worked_example_of_zoph_and_le(seed: int) -> None:
    # Leaf 0 (add, tanh), leaf 1 (elem_mult, relu), node 2 (elem_mult, sigmoid), injection
    # (add, relu); the memory is leaf 1 before its activation, the last one goes into leaf 0.
    space = RecurrentTree(2)
    arch = space.from_text("0 1 1 3 1 2 0 3 1 0")
    cell = TreeRecurrentCell(space.cell(arch), 2, 3).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.uniform_(-1, 1, generator=torch.Generator().manual_seed(0))
    rng = np.random.default_rng(seed)
    x, h, c = rng.normal(size=2), rng.normal(size=3), rng.normal(size=3)
    w1, w3 = np.split(cell.of_input.detach().numpy(), 2, axis=1)
    w2, w4 = np.split(cell.of_hidden.detach().numpy(), 2, axis=1)
    a0 = np.maximum(np.tanh(x @ w1 + h @ w2) + c, 0)
    new_c = (x @ w3) * (h @ w4)
    new_h = 1 / (1 + np.exp(-a0 * np.maximum(new_c, 0)))
    state = torch.from_numpy(np.concatenate([h, c]))[None]
    out = cell(torch.from_numpy(x)[None], state).detach().numpy()[0]
    assert np.abs(out - np.concatenate([new_h, new_c])).max() < 1e-12


def test_equal_canonical_forms_compute_the_same() -> None:
    # Exchange the two leaves of a tree with their weights.
    space = RecurrentTree(2)
    one, other = space.from_text("0 1 1 3 1 2 0 3 1 0"), space.from_text("1 3 0 1 1 2 0 3 0 1")
    assert space.canonical(one) == space.canonical(other)
    a, b = (TreeRecurrentCell(space.cell(arch), 3, 3) for arch in (one, other))
    with torch.no_grad():
        for name, weight in a.named_parameters():
            b.get_parameter(name).copy_(weight.roll(3, dims=1))
    x, state = torch.randn(4, 3), torch.randn(4, 6)
    assert torch.allclose(a(x, state), b(x, state), atol=1e-6)


def test_a_language_model_carries_the_memory_and_learns() -> None:
    space = spaces.get("recurrent-tree")
    arch = space.sample(np.random.default_rng(3))
    torch.manual_seed(0)
    model = networks.build(space, arch, Signature((6,), 11, "language"), hidden=8)
    assert isinstance(model, LanguageModel)
    tokens = torch.arange(24).reshape(2, 12) % 11
    whole, last = model.run(tokens)
    first, state = model.run(tokens[:, :7])
    second, end = model.run(tokens[:, 7:], state)
    assert last.shape == (2, 16)
    assert torch.allclose(torch.cat([first, second], dim=1), whole, atol=1e-6)
    assert torch.allclose(end, last, atol=1e-6)
    whole.logsumexp(-1).mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())
    # Eight leaves of two matrices each, no biases, beside embedding and decoder bias.
    assert sum(p.numel() for p in model.cell.parameters()) == 8 * 2 * 8 * 8
