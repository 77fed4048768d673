"""Recurrent networks: published parameter counts and cells computed by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from transnas import InputError, networks, spaces
from transnas.networks.darts_recurrent import Dropout, LanguageModel, RecurrentCell
from transnas.networks.relaxations import Softmax
from transnas.tasks import Signature


@pytest.mark.parametrize(
    ("vocabulary", "hidden", "parameters"),
    [(10_000, 850, 22_960_000), (10_000, 300, 4_810_000), (33_278, 700, 33_127_878)],
)
def test_parameters_are_as_published(vocabulary: int, hidden: int, parameters: int) -> None:
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    with torch.device("meta"):
        network = networks.build(
            space, arch, Signature((35,), vocabulary, "language"), hidden=hidden
        )
    assert sum(p.numel() for p in network.parameters()) == parameters


def sigmoid(a: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-a))


def relu(a: np.ndarray) -> np.ndarray:
    return np.maximum(a, 0)


def by_hand(
    mapped: np.ndarray, before: np.ndarray, activation: Callable[[np.ndarray], np.ndarray]
) -> np.ndarray:
    gate, candidate = np.split(mapped, 2)
    return sigmoid(gate) * activation(candidate) + (1 - sigmoid(gate)) * before


def test_the_worked_example_of_enas() -> None:
    # Node 1 tanh of x and h, node 2 relu of 1, node 3 relu of 2, node 4 tanh of 1; mean of 3, 4.
    torch.manual_seed(0)
    cell = RecurrentCell([("relu", 0), ("relu", 1), ("tanh", 0)], (2, 3), 2, 3).double()
    with torch.no_grad():
        for p in cell.parameters():
            p.uniform_(-1, 1)
    x, h = np.array([0.3, -0.7]), np.array([0.1, 0.5, -0.2])
    w1, w2, w3, w4 = (w.detach().numpy() for w in (cell.first, *cell.weights))
    h1 = by_hand(np.concatenate([x, h]) @ w1, h, np.tanh)
    h2 = by_hand(h1 @ w2, h1, relu)
    h3 = by_hand(h2 @ w3, h2, relu)
    h4 = by_hand(h1 @ w4, h1, np.tanh)
    out = cell(torch.from_numpy(x)[None], torch.from_numpy(h)[None])
    assert np.abs(out.detach().numpy()[0] - (h3 + h4) / 2).max() < 1e-12


def test_other_activations_by_hand() -> None:
    torch.manual_seed(0)
    cell = RecurrentCell([("sigmoid", 0), ("identity", 1)], (1, 2), 2, 2).double()
    x, h = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    first, w1, w2 = (w.detach().numpy() for w in (cell.first, *cell.weights))
    s0 = by_hand(np.concatenate([x, h]) @ first, h, np.tanh)
    s1 = by_hand(s0 @ w1, s0, sigmoid)
    s2 = by_hand(s1 @ w2, s1, lambda a: a)
    out = cell(torch.from_numpy(x)[None], torch.from_numpy(h)[None])
    assert np.abs(out.detach().numpy()[0] - (s1 + s2) / 2).max() < 1e-12


@pytest.mark.parametrize("name", ["darts-recurrent", "enas-recurrent"])
def test_a_state_carried_over_equals_one_long_run(name: str) -> None:
    torch.manual_seed(0)
    space = spaces.get(name)
    arch = space.sample(np.random.default_rng(0))
    model = networks.build(space, arch, Signature((6,), 11, "language"), hidden=5).double()
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
        networks.build(space, arch, Signature((1, 8, 8), 10, "language"))
    with pytest.raises(InputError, match="no networks for classification"):
        networks.build(space, arch, Signature((1, 8, 8), 10))


@pytest.mark.parametrize("name", networks.names())
def test_a_skeleton_is_suggested_where_there_is_a_network_and_else_refused(name: str) -> None:
    signature = Signature((6,), 11, "language")
    space = spaces.get(name)
    if "recurrent" in name:
        skeleton = networks.suggest(space, signature)
        networks.build(space, space.sample(np.random.default_rng(0)), signature, **skeleton)
    else:
        with pytest.raises(InputError, match="no networks for language; accepted: darts-rec"):
            networks.suggest(space, signature)


def test_masks_stay_the_same_over_a_window_and_rest_in_evaluation() -> None:
    torch.manual_seed(0)
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    language = Signature((4,), 11, "language")
    model = networks.build(space, arch, language, hidden=6, output_dropout=0.5).double()
    assert isinstance(model, LanguageModel)
    with torch.no_grad():
        model.decoder.weight.fill_(0)  # shares the embedding: every word is the same
        model.embedding.weight.fill_(1)
    tokens = torch.randint(11, (3, 4))
    seen: list[torch.Tensor] = []
    model.decoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.train()
    model(tokens)
    zero = seen[-1] == 0
    assert 0 < int(zero.sum()) < zero.numel()
    assert (zero == zero[:, :1]).all()
    model.eval()
    model(tokens)
    assert (seen[-1] != 0).all()


def test_dropped_words_lose_their_whole_vectors_and_hidden_masks_spare_the_highway() -> None:
    torch.manual_seed(0)
    space = spaces.get("enas-recurrent")
    arch = space.sample(np.random.default_rng(0))
    language = Signature((40,), 30, "language")
    model = networks.build(space, arch, language, hidden=6, embedding_dropout=0.5)
    assert isinstance(model, LanguageModel)
    seen: list[torch.Tensor] = []
    model.cell.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    model.train()
    tokens = torch.arange(30)[None]
    model(tokens)
    dropped = (torch.cat(seen) == 0).all(dim=1)
    assert (dropped == (torch.cat(seen) == 0).any(dim=1)).all()
    assert 5 < int(dropped.sum()) < 25

    cell = RecurrentCell([("tanh", 0)], (1,), 2, 3)
    with torch.no_grad():
        cell.first.zero_()  # the gate is one half, the candidate 0: half of the state goes on
    x, h = torch.ones(1, 2), torch.ones(1, 3)
    assert torch.allclose(cell(x, h, torch.zeros(1, 3)), torch.full((1, 3), 0.25))


@pytest.mark.parametrize("place", ["embedding", "input", "hidden", "output"])
def test_each_dropout_scales_what_it_leaves_and_drops_in_its_own_place(place: str) -> None:
    torch.manual_seed(0)
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    model = networks.build(
        space, arch, Signature((5,), 11, "language"), hidden=40, **{f"{place}_dropout": 0.2}
    ).train()
    assert isinstance(model, LanguageModel)
    seen: dict[str, list[torch.Tensor]] = {"input": [], "hidden": [], "output": []}

    def into_cell(module: object, args: tuple[torch.Tensor, ...]) -> None:
        seen["input"].append(args[0])
        seen["hidden"] += args[2:]

    def out_of_cell(module: object, args: object, out: torch.Tensor) -> None:
        steps.append(out)

    steps: list[torch.Tensor] = []
    model.cell.register_forward_pre_hook(into_cell)
    model.cell.register_forward_hook(out_of_cell)
    model.decoder.register_forward_pre_hook(lambda _, args: seen["output"].append(args[0]))
    tokens = torch.randint(11, (3, 5))
    model(tokens)
    embedded, states = model.embedding(tokens), torch.stack(steps, dim=1)
    masks = {
        "input": torch.stack(seen["input"], dim=1) / embedded,
        "hidden": torch.stack(seen["hidden"], dim=1) if seen["hidden"] else torch.ones(()),
        "output": seen["output"][0] / states,
    }
    masks["embedding"] = masks["input"]  # of words, seen where they enter the cell
    for name, mask in masks.items():
        levels = mask.detach().unique()
        if name == place or {name, place} == {"embedding", "input"}:
            assert all(abs(v) < 1e-6 or abs(v - 1.25) < 1e-5 for v in levels.tolist())
            assert (mask.detach() < 0.5).any()
        else:
            torch.testing.assert_close(levels, torch.ones_like(levels))
    whole_words = bool((masks["input"] == masks["input"][..., :1]).all())
    assert whole_words == (place != "input")


def test_weights_begin_in_their_ranges() -> None:
    torch.manual_seed(0)
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    model = networks.build(space, arch, Signature((5,), 50, "language"), hidden=30)
    assert isinstance(model, LanguageModel)
    for weights, bound in ((model.cell.parameters(), 0.04), ([model.embedding.weight], 0.1)):
        for weight in weights:
            assert 0.95 * bound < float(weight.detach().abs().max()) <= bound
            assert abs(float(weight.detach().mean())) < 0.05 * bound * 2
    assert not model.decoder.bias.any()


@pytest.mark.parametrize("rate", [-0.1, 1.0, "half"])
def test_dropouts_that_are_no_shares_are_refused(rate: object) -> None:
    space = spaces.get("darts-recurrent")
    arch = space.sample(np.random.default_rng(0))
    with pytest.raises(InputError, match="hidden_dropout"):
        networks.build(space, arch, Signature((4,), 11, "language"), hidden_dropout=rate)


@pytest.mark.parametrize("name", ["darts-recurrent", "enas-recurrent"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_a_supernet_drops_what_its_discrete_networks_drop(name: str, checkpoint: bool) -> None:
    space, language = spaces.get(name), Signature((4,), 11, "language")
    rates = {"embedding_dropout": 0.2, "input_dropout": 0.3, "hidden_dropout": 0.4}
    form, skeleton = networks.Form(checkpoint=checkpoint), {"output_dropout": 0.5, **rates}
    torch.manual_seed(0)
    net = networks.supernet(space, language, Softmax(), form, hidden=6, **skeleton).double()
    tokens = torch.randint(11, (4, 4))
    for seed in range(3):
        arch = space.sample(np.random.default_rng(seed))
        path, twin = net.path(arch), net.twin(arch).train()

        def outputs(network: Any, *more: Any) -> torch.Tensor:
            torch.manual_seed(1)
            found: torch.Tensor = network(tokens, *more)
            return found

        torch.testing.assert_close(outputs(net, path), outputs(twin), rtol=0, atol=1e-12)
        dropped = outputs(net, path)
        with net.undropped():
            whole = outputs(net, path)
        assert not torch.equal(whole, dropped)
        assert torch.equal(outputs(net, path), dropped)
        twin.dropout = Dropout()
        torch.testing.assert_close(whole, outputs(twin), rtol=0, atol=1e-12)
