"""One-shot searches on a toy supernet whose best architecture is known, and on digits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from transnas import InputError, networks, oneshot, spaces, tasks
from transnas.evaluation.training import Stopped
from transnas.networks import Form, Supernet
from transnas.networks.relaxations import Mix, Relaxation, Softmax
from transnas.oneshot import Settings, search_darts, search_gdas
from transnas.spaces import Architecture, Choice, Space
from transnas.tasks import DataTask, Signature

torch.set_num_threads(1)
OPERATIONS = ("noise", "keep", "zero")
BEST = (1, 1)
SEARCHES = [search_darts, search_gdas]
Search = Callable[..., Architecture]


class Chain(Space):
    """Two operations, one after the other; only `keep` lets the input through unharmed."""

    name = "toy-chain"
    choices = (Choice("first", OPERATIONS), Choice("second", OPERATIONS))


class ChainSupernet(Supernet):
    def __init__(
        self,
        space: Space,
        signature: Signature,
        relaxation: Relaxation,
        form: Form = Form(),  # noqa: B008 - immutable
        **skeleton: Any,
    ) -> None:
        super().__init__(space, signature, relaxation, form, [range(3)] * 2, skeleton)
        self.head = nn.Linear(signature.input_shape[0], signature.outputs)

    def run(self, x: Tensor, mix: Mix) -> Tensor:
        for edge in range(2):
            made = (torch.randn_like(x), x, torch.zeros_like(x))
            terms = [mix.weights[edge, code] * made[code] for code in mix.active(edge)]
            x = torch.stack(terms).sum(0)
        out: Tensor = self.head(x.mean(dim=(2, 3)))
        return out

    def codes(self, arch: Architecture) -> tuple[int | None, ...]:
        return arch.values

    def discretise(self, shares: Tensor) -> Architecture:
        return self.space.architecture(shares.argmax(dim=1).tolist())

    def shared_name(self, name: str, codes: Sequence[int | None]) -> str:
        return name


def brighter(count: int = 256, offset: float = 0.0) -> DataTask:
    """Return the task which of two channels is brighter; validation images are moved by offset."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 2, 2, 2, generator=generator)
    labels = (images[:, 0].mean(dim=(1, 2)) > images[:, 1].mean(dim=(1, 2))).long()
    half = count // 2
    images[half:] += offset
    train, held = (TensorDataset(images[s], labels[s]) for s in (slice(half), slice(half, None)))
    return DataTask.from_datasets("brighter", train, held)


@pytest.mark.parametrize("search", SEARCHES)
def test_finds_the_best_of_a_toy(search: Search, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "supernet", ChainSupernet)
    task, space = brighter(), Chain()
    settings = Settings(epochs=15, batch_size=32, learning_rate=0.3, logits_learning_rate=0.05)
    found = [
        search(task, space, settings, skeleton={}, seed=seed, device="cpu").values
        for seed in range(10)
    ]
    assert found.count(BEST) >= 9


@pytest.mark.parametrize("search", SEARCHES)
def test_same_seed_same_architecture_and_the_callers_generator_is_left_alone(
    search: Search,
) -> None:
    task, space = tasks.get("digits"), spaces.get("nasbench201")
    settings = Settings(epochs=1, batch_size=256, logits_learning_rate=0.1)
    before = torch.get_rng_state()

    def run(seed: int) -> tuple[Architecture, dict[str, float]]:
        curve: list[Any] = []
        arch = search(
            task, space, settings, skeleton={"channels": 2, "cells": 1}, seed=seed, device="cpu",
            progress=lambda epoch, metrics: curve.append((epoch, dict(metrics))),
        )  # fmt: skip
        assert [epoch for epoch, _ in curve] == [1]
        return arch, curve[0][1]

    curves = [run(0), run(0), run(1)]
    assert curves[0] == curves[1]
    assert curves[0][1] != curves[2][1]
    assert torch.equal(torch.get_rng_state(), before)


def test_each_step_moves_its_own_parameters_only() -> None:
    space = Chain()
    for frozen, settings in (
        ("head", Settings(epochs=1, learning_rate=0.0, least_learning_rate=0.0)),
        ("logits", Settings(epochs=1, logits_learning_rate=0.0)),
    ):
        torch.manual_seed(0)
        net = ChainSupernet(space, Signature((2, 2, 2), 2), Softmax())
        before = {name: value.clone() for name, value in net.state_dict().items()}
        oneshot.train(net, brighter(), settings, device="cpu")
        for name, value in net.state_dict().items():
            assert torch.equal(value, before[name]) == name.startswith(frozen)


def test_logits_learn_from_validation_data_and_weights_from_training_data() -> None:
    calls = []

    class Recording(ChainSupernet):
        def run(self, x: Tensor, mix: Mix) -> Tensor:
            values = self.logits.detach().clone(), self.head.weight.detach().clone()
            calls.append((bool(x.mean() > 5), *values))
            return super().run(x, mix)

    torch.manual_seed(0)
    net = Recording(Chain(), Signature((2, 2, 2), 2), Softmax())
    oneshot.train(net, brighter(128, offset=10.0), Settings(epochs=2, batch_size=32), device="cpu")
    assert [validation for validation, *_ in calls] == [True, False] * 4
    for (validation, logits, head), (_, next_logits, next_head) in itertools.pairwise(calls):
        assert torch.equal(logits, next_logits) != validation
        assert torch.equal(head, next_head) == validation


def test_first_order_step_is_adam_on_the_validation_gradient() -> None:
    torch.manual_seed(0)
    net = ChainSupernet(Chain(), Signature((2, 2, 2), 2), Softmax())
    task = brighter(64)
    before = net.logits.detach().clone()
    settings = Settings(
        epochs=1, batch_size=32, learning_rate=0.0, least_learning_rate=0.0, logits_decay=0.0
    )
    oneshot.train(net, task, settings, device="cpu")
    # The first step of Adam is the learning rate against the gradient's sign.
    moved = (net.logits.detach() - before).abs()
    torch.testing.assert_close(moved, torch.full((2, 3), 3e-4), rtol=1e-2, atol=0)


def test_learning_rate_falls_along_half_a_cosine() -> None:
    settings = Settings()
    assert [settings.rate(t) for t in (0.0, 0.5, 1.0)] == pytest.approx([0.025, 0.013, 0.001])


def test_what_cannot_be_searched_is_refused() -> None:
    space = spaces.get("nasbench201")
    with pytest.raises(InputError, match="no data to train on"):
        search_darts(tasks.get("nasbench201/cifar10"), space)
    with pytest.raises(InputError, match="space .nasbench-macro. is unknown"):
        search_gdas(brighter(), spaces.get("nasbench-macro"))
    with pytest.raises(InputError, match="epochs is 0"):
        Settings(epochs=0)
    net = ChainSupernet(Chain(), Signature((2, 2, 2), 2), Softmax())
    nn.init.constant_(net.head.weight, float("nan"))
    with pytest.raises(Stopped, match="not finite in epoch 1"):
        oneshot.train(net, brighter(), Settings(epochs=2), device="cpu")
