"""Recurrent networks: published parameter counts and cells computed by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from transnas import InputError, networks, spaces
from transnas.networks.darts_recurrent import LanguageModel, RecurrentCell
from transnas.tasks import Signature


@pytest.mark.parametrize(
    ("vocabulary", "hidden", "parameters"),
    [(10_000, 850, 22_960_000), (10_000, 300, 4_810_000), (33_278, 700, 33_127_878)],
)
def test_parameters_are_as_published(vocabulary: int, hidden: int, parameters: int) -> None:
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    with torch.device("meta"):
        network = networks.build(space, arch, Signature((35,), vocabulary), hidden=hidden)
    assert sum(p.numel() for p in network.parameters()) == parameters


def test_the_worked_example_of_enas() -> None:
    # Node 1 tanh(x Wx + h Wh), node 2 relu of 1, node 3 relu of 2, node 4 tanh of 1; mean of 3, 4.
    torch.manual_seed(0)
    nodes = [("relu", 0), ("relu", 1), ("tanh", 0)]
    cell = RecurrentCell(nodes, (2, 3), 2, 3, highway=False).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.uniform_(-1, 1)
    x, h = np.array([0.3, -0.7]), np.array([0.1, 0.5, -0.2])
    first = cell.first.detach().numpy()
    w2, w3, w4 = (w.detach().numpy() for w in cell.weights)
    h1 = np.tanh(x @ first[:2] + h @ first[2:])
    h3 = np.maximum(np.maximum(h1 @ w2, 0) @ w3, 0)
    h4 = np.tanh(h1 @ w4)
    out = cell(torch.from_numpy(x)[None], torch.from_numpy(h)[None])
    assert np.abs(out.detach().numpy()[0] - (h3 + h4) / 2).max() < 1e-12


def test_highway_nodes_by_hand() -> None:
    torch.manual_seed(0)
    cell = RecurrentCell([("sigmoid", 0), ("identity", 1)], (1, 2), 2, 2).double()
    x, h = np.array([1.0, -2.0]), np.array([0.5, 0.25])

    def sigmoid(a: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-a))

    def split(a: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return sigmoid(a[:2]), a[2:]

    c, g = split(np.concatenate([x, h]) @ cell.first.detach().numpy())
    s0 = c * np.tanh(g) + (1 - c) * h
    c, g = split(s0 @ cell.weights[0].detach().numpy())
    s1 = c * sigmoid(g) + (1 - c) * s0
    c, g = split(s1 @ cell.weights[1].detach().numpy())
    s2 = c * g + (1 - c) * s1
    out = cell(torch.from_numpy(x)[None], torch.from_numpy(h)[None])
    assert np.abs(out.detach().numpy()[0] - (s1 + s2) / 2).max() < 1e-12


@pytest.mark.parametrize("name", ["darts-recurrent", "enas-recurrent"])
def test_a_state_carried_over_equals_one_long_run(name: str) -> None:
    torch.manual_seed(0)
    space = spaces.get(name)
    arch = space.sample(np.random.default_rng(0))
    model = networks.build(space, arch, Signature((6,), 11), hidden=5).double()
    assert isinstance(model, LanguageModel)
    tokens = torch.randint(11, (3, 6))
    whole = model(tokens)
    first, state = model.run(tokens[:, :4], torch.zeros(3, 5, dtype=torch.float64))
    second, _ = model.run(tokens[:, 4:], state)
    assert whole.shape == (3, 6, 11)
    assert torch.allclose(whole, torch.cat([first, second], dim=1), atol=1e-12)


def test_images_are_refused() -> None:
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    with pytest.raises(InputError, match="not a row of tokens"):
        networks.build(space, arch, Signature((1, 8, 8), 10))
