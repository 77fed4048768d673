"""Training: the evaluator's contract, determinism, failures with reasons, and that it learns."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from transnas import InputError, networks, spaces, tasks
from transnas.evaluation import Evaluator, Recipe, Training
from transnas.evaluation._fit import Batches, Stopped, deterministic, fit, measure, workplace
from transnas.evaluation._kinds import kind_of
from transnas.spaces import Space
from transnas.tasks import DataTask, Signature
from transnas.tasks._tensors import TensorSplit, cutout
from transnas.testing.evaluators import EvaluatorContract

torch.set_num_threads(1)
SPACE = spaces.get("nasbench201")
RESNET = SPACE.architecture((3, 0, 3, 1, 0, 1))
SMALL = {"channels": 4, "cells": 1}


def quadrants(count: int = 96, poison: float = 0.0) -> DataTask:
    """Which of four quadrants is bright: learnt in a few epochs; chance is a quarter."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 4
    images = torch.randn(count, 1, 8, 8, generator=generator) * 0.3
    for i, label in enumerate(labels.tolist()):
        images[i, :, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 1 + poison * 1e38
    data = TensorDataset(images, labels)
    return DataTask.from_datasets("quadrants", data, data, test=data)


class TestTraining(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return Training(quadrants(), SPACE, Recipe(epochs=2, batch_size=32), "cpu", SMALL)

    @pytest.fixture
    def space(self) -> Space:
        return SPACE


def test_it_learns_and_keeps_its_curve() -> None:
    seen: list[int] = []
    training = Training(
        quadrants(),
        SPACE,
        Recipe(batch_size=16),
        skeleton=SMALL,
        progress=lambda epoch, metrics: seen.append(epoch),
    )
    measured = training.evaluate(RESNET, 8)
    assert measured.metrics["validation_accuracy"] > 0.9
    assert len(measured.curve) == measured.cost.epochs == 8
    assert seen == list(range(1, 9))
    assert measured.curve[0]["train_loss"] > measured.curve[-1]["train_loss"]
    assert set(measured.curve[0]) == {"train_loss", "validation_loss", "validation_accuracy"}
    assert all(measured.metrics[k] == v for k, v in measured.curve[-1].items())
    assert measured.metrics["parameters"] > 0
    assert measured.metrics["flops"] > 0


def test_seeds_differ_and_the_callers_random_state_is_left_alone() -> None:
    training = Training(quadrants(), SPACE, Recipe(epochs=1, batch_size=32), skeleton=SMALL)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = training.evaluate(RESNET, seed=0), training.evaluate(RESNET, seed=1)
    assert first.metrics["train_loss"] != second.metrics["train_loss"]
    assert torch.equal(before, torch.get_rng_state())


def test_disconnected_cell_trains_to_chance() -> None:
    cut = SPACE.architecture((3, 3, 3, 0, 0, 0))
    task = quadrants(400)
    measured = Training(task, SPACE, Recipe(epochs=3), skeleton=SMALL).evaluate(cut)
    assert measured.status == "complete"
    sigma = math.sqrt(0.25 * 0.75 / 400)
    assert abs(measured.metrics["validation_accuracy"] - 0.25) <= 3 * sigma


def test_nan_fails_the_measurement_with_its_reason() -> None:
    measured = Training(quadrants(poison=3.0), SPACE, skeleton=SMALL).evaluate(RESNET)
    assert measured.status == "failed"
    assert measured.error == "loss is not finite in epoch 1"
    assert measured.cost.epochs == 0
    assert measured.cost.seconds > 0
    assert set(measured.metrics) == {"parameters", "flops"}


def test_deadline_fails_the_measurement_and_keeps_the_curve() -> None:
    def slow(epoch: int, metrics: Mapping[str, float]) -> None:
        torch.randn(600, 600) @ torch.randn(600, 600)

    training = Training(quadrants(), SPACE, skeleton=SMALL, deadline=0.3, progress=slow)
    measured = training.evaluate(RESNET, 10_000)
    assert measured.status == "failed"
    assert measured.error.startswith("training exceeded 0.3 s in epoch")
    assert len(measured.curve) == measured.cost.epochs > 0
    assert measured.cost.seconds < 20


def test_running_out_of_memory_fails_the_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*args: object, **kwargs: object) -> None:
        raise torch.OutOfMemoryError("tried to allocate 9 GiB\nand more")

    monkeypatch.setattr("transnas.evaluation.training.fit", exhausted)
    measured = Training(quadrants(), SPACE, skeleton=SMALL).evaluate(RESNET)
    assert (measured.status, measured.error) == (
        "failed",
        "out of memory (tried to allocate 9 GiB)",
    )


class Linear(nn.Module):
    """One linear layer on all pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(64, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(x.flatten(1))
        return out


def test_fit_takes_the_steps_of_plain_torch() -> None:
    # One batch an epoch, so that order does not matter: the same as SGD written out.
    task = quadrants(16)
    recipe = Recipe(
        batch_size=16, warmup=0.0, label_smoothing=0.0, gradient_clip=1e9, learning_rate=0.2
    )
    torch.manual_seed(0)
    ours, theirs = Linear(), Linear()
    theirs.load_state_dict(ours.state_dict())
    at = workplace("cpu")
    with deterministic(0, at.device):
        curve = fit(ours, task.train, task.validation, recipe, epochs=4, at=at)
    sgd = torch.optim.SGD(
        [
            {"params": [theirs.head.weight], "weight_decay": 5e-4},
            {"params": [theirs.head.bias], "weight_decay": 0.0},
        ],
        lr=0.2,
        momentum=0.9,
        nesterov=True,
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(sgd, 4)
    assert isinstance(task.train, TensorSplit)
    x, y = task.train.batch(torch.arange(16))
    for epoch in range(4):
        loss = nn.functional.cross_entropy(theirs(x), y)
        assert curve[epoch]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)
        sgd.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        sgd.step()
        cosine.step()
    assert torch.allclose(ours.head.weight, theirs.head.weight, atol=1e-6)
    found = measure(ours, task.train, at)
    assert found["accuracy"] == pytest.approx(float((theirs(x).argmax(1) == y).float().mean()))


def test_fit_shows_images_as_recipe_and_task_say() -> None:
    task, shown = quadrants(32), []

    def seen(epochs: int, seed: int = 0, **settings: Any) -> list[torch.Tensor]:
        network = Linear()
        shown.clear()
        network.register_forward_pre_hook(lambda _, args: shown.append(args[0].clone()))
        recipe = Recipe(batch_size=32, learning_rate=0.0, **settings)
        fit(network, task.train, None, recipe, epochs=epochs, seed=seed, augmentation="shift",
            at=workplace("cpu"))  # fmt: skip
        return list(shown)

    assert isinstance(task.train, TensorSplit)
    images = task.train.batch(torch.arange(32))[0]
    one, two = seen(2, augment=False)
    (other,) = seen(1, seed=1, augment=False)
    for batch in (one, two, other):  # the same images, in an order of each epoch and seed
        assert sorted(batch.flatten(1).tolist()) == sorted(images.flatten(1).tolist())
    assert not torch.equal(one, images)
    assert not torch.equal(one, two)
    assert not torch.equal(one, other)
    (moved,) = seen(1)
    assert sorted(moved.flatten(1).tolist()) != sorted(images.flatten(1).tolist())
    (hidden,) = seen(1, augment=False, cutout=4)
    assert bool((hidden == 0).flatten(1).any(1).all())
    assert bool(((hidden == 0) | (hidden == one)).all())


def test_metrics_are_means_over_images_whatever_the_batches() -> None:
    split, network, at = quadrants(300).train, Linear(), workplace("cpu")
    assert isinstance(split, TensorSplit)
    x, y = split.batch(torch.arange(300))  # measured as 256 and 44
    found = measure(network, split, at)
    scores = network(x).detach()
    assert found["loss"] == pytest.approx(float(F.cross_entropy(scores, y)), rel=1e-5)
    assert found["accuracy"] == pytest.approx(float((scores.argmax(1) == y).float().mean()))


def test_training_losses_are_means_and_measuring_drops_nothing() -> None:
    task, network, at = quadrants(32), Linear(), workplace("cpu")
    assert isinstance(task.train, TensorSplit)
    x, y = task.train.batch(torch.arange(32))
    recipe = Recipe(batch_size=16, learning_rate=0.0, label_smoothing=0.0)
    (epoch,) = fit(network, task.train, None, recipe, epochs=1, at=at)
    loss = float(F.cross_entropy(network(x).detach(), y))
    assert epoch["train_loss"] == pytest.approx(loss, rel=1e-5)
    dropping = nn.Sequential(nn.Dropout(0.9), network).train()
    assert measure(dropping, task.train, at)["loss"] == pytest.approx(loss, rel=1e-5)


def test_a_step_is_no_longer_than_the_clipped_gradient() -> None:
    task, network = quadrants(16), Linear()
    before = torch.cat([p.detach().flatten() for p in network.parameters()])
    recipe = Recipe(
        batch_size=16, learning_rate=0.5, warmup=0.0, momentum=0.0, weight_decay=0.0,
        gradient_clip=1e-3,
    )  # fmt: skip
    fit(network, task.train, None, recipe, epochs=1, at=workplace("cpu"))
    after = torch.cat([p.detach().flatten() for p in network.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.5e-3, rel=1e-2)


def test_averaged_weights_are_measured_and_left_at_the_end() -> None:
    task, at = quadrants(16), workplace("cpu")
    assert isinstance(task.train, TensorSplit)
    wrong = replace(task.train, labels=(task.train.labels + 1) % 4)  # gets worse and worse
    torch.manual_seed(0)
    first = Linear().state_dict()

    def trained(epochs: int, average_after: int = 0) -> tuple[torch.Tensor, Any]:
        network = Linear()
        network.load_state_dict(first)
        recipe = Recipe(batch_size=16, schedule="constant", warmup=0.0, average_after=average_after)
        curve = fit(network, task.train, wrong, recipe, epochs=epochs, at=at)
        return network.head.weight.detach(), curve

    # Patience 1: the loss of epoch 3 is above that of epoch 1; the mean is of epochs 3, 4, 5.
    expected = torch.stack([trained(n)[0] for n in (3, 4, 5)]).mean(dim=0)
    found, curve = trained(5, average_after=1)
    torch.testing.assert_close(found, expected)
    plain = trained(5)[1]
    assert curve[-1]["train_loss"] == pytest.approx(plain[-1]["train_loss"])
    assert curve[-1]["validation_loss"] < plain[-1]["validation_loss"]


def test_targets_are_smoothed_in_training_alone() -> None:
    network, x, y = Linear(), torch.randn(6, 1, 8, 8), torch.arange(6) % 4
    loss = kind_of("classification").loss(network, x, y, Recipe(label_smoothing=0.3))
    torch.testing.assert_close(loss, F.cross_entropy(network(x), y, label_smoothing=0.3))
    logs = network(x).log_softmax(dim=1)
    by_hand = -(0.7 * logs.gather(1, y[:, None]).mean() + 0.3 * logs.mean())
    torch.testing.assert_close(loss, by_hand)


def test_a_loss_that_is_not_finite_ends_the_epoch() -> None:
    task, network, steps = quadrants(1000), Linear(), []
    network.register_forward_hook(lambda *_: steps.append(1))
    recipe = Recipe(batch_size=2, learning_rate=1e38, gradient_clip=math.inf)
    with pytest.raises(Stopped, match="loss is not finite in epoch 1"):
        fit(network, task.train, task.validation, recipe, epochs=2, at=workplace("cpu"))
    assert len(steps) < 100


def test_data_sets_that_stay_as_they_are_train_too() -> None:
    data = TensorDataset(torch.randn(21, 1, 8, 8), torch.arange(21) % 4)
    task = DataTask.from_datasets("lazy", data, data, classes=tuple("abcd"), in_memory=False)
    measured = Training(task, SPACE, Recipe(epochs=1, batch_size=20), skeleton=SMALL).evaluate(
        RESNET
    )
    assert measured.status == "complete"  # 21 images: the last batch of one is left out


def test_data_sets_that_stay_as_they_are_are_augmented_as_the_task_says() -> None:
    data = TensorDataset(torch.randn(9, 1, 8, 8), torch.arange(9) % 2)
    seen = [
        torch.cat(
            [x for x, _ in Batches(split, 4, torch.device("cpu"), generator).epoch("natural")]
        )
        for split in (
            data,
            TensorSplit(*data.tensors, 1.0, torch.zeros(1, 1, 1), torch.ones(1, 1, 1)),
        )
        for generator in (torch.Generator().manual_seed(3),)
    ]
    assert torch.equal(*seen)
    assert len(seen[0]) == 8


def test_learning_rate_rises_then_falls_to_nearly_zero() -> None:
    rates = [Recipe(warmup=0.25).rate(step, 40) for step in range(40)]
    assert rates[:10] == pytest.approx([0.01 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.001


def test_bad_settings_are_refused_before_anything_is_trained() -> None:
    table = tasks.get("nasbench201/cifar10")
    with pytest.raises(InputError, match="has no data to train on"):
        Training(table, SPACE)
    with pytest.raises(InputError, match="task 'digits' has no validation data"):
        Training(tasks.get("digits", held_out=0), SPACE)
    task = quadrants(16)
    with pytest.raises(InputError, match="did you mean 'channels'"):
        Training(task, SPACE, skeleton={"chanels": 3})
    with pytest.raises(InputError, match="deadline"):
        Training(task, SPACE, deadline=0)
    for device in ("gpu", "cuda:x"):
        with pytest.raises(InputError, match=f"device '{device}' is unknown"):
            Training(task, SPACE, device=device)
    with pytest.raises(InputError, match="device 'cuda:99' is not there"):
        Training(task, SPACE, device="cuda:99").evaluate(RESNET)
    for field, value in (
        ("epochs", 0), ("epochs", 1.5), ("batch_size", 1), ("learning_rate", -1),
        ("momentum", 2), ("label_smoothing", math.nan), ("warmup", "much"), ("precision", "fp8"),
        ("epochs", math.inf), ("batch_size", 64.0), ("epochs", True), ("gradient_clip", 0),
    ):  # fmt: skip
        with pytest.raises(InputError, match="accepted"):
            Recipe(**{field: value})


def test_stopped_is_an_error_with_a_curve() -> None:
    assert Stopped("why", [{"train_loss": 1.0}]).curve == [{"train_loss": 1.0}]


@pytest.mark.slow
def test_digits_in_eight_epochs() -> None:
    task = tasks.get("digits")
    measured = Training(task, SPACE, Recipe(epochs=8)).evaluate(RESNET)
    assert measured.metrics["validation_accuracy"] > 0.96


def test_cutout_hides_one_square_of_each_image() -> None:
    images = torch.ones(200, 3, 9, 7)
    hidden = cutout(images, 4, torch.Generator().manual_seed(0)) == 0
    assert torch.equal(hidden[:, 0], hidden[:, 2])
    rows, columns = hidden[:, 0].any(2).sum(1), hidden[:, 0].any(1).sum(1)
    assert torch.equal(hidden[:, 0].sum((1, 2)), rows * columns)
    assert set(rows.tolist()) == set(columns.tolist()) == {2, 3, 4}  # cut at the borders
    assert bool(hidden[:, 0].any(0).all())  # every pixel is hidden somewhere


def test_the_second_classifier_is_trained_with_its_weight() -> None:
    task, space = tasks.get("digits", limit=10), spaces.get("darts")
    arch, at = space.sample(np.random.default_rng(0)), workplace("cpu")
    recipe = Recipe(auxiliary=0.4, cutout=2)
    for auxiliary in (True, False):
        with deterministic(0, at.device):
            network = networks.build(
                space, arch, Signature((1, 32, 32), 10), channels=2, layers=3, auxiliary=auxiliary
            )
        images, labels = torch.randn(4, 1, 32, 32), torch.arange(4)
        if not auxiliary:
            with pytest.raises(InputError, match="auxiliary=True"):
                fit(network, task.train, None, recipe, epochs=1, at=at)
            continue
        both = [F.cross_entropy(out, labels, label_smoothing=0.1)
                for out in network.with_auxiliary(images)]  # fmt: skip
        torch.testing.assert_close(
            kind_of("classification").loss(network, images, labels, recipe),
            both[0] + 0.4 * both[1],
        )
        data = TensorDataset(images, labels)
        before = [p.clone() for p in network.auxiliary.parameters()]
        fit(network, data, None, recipe, epochs=1, at=at)
        after = network.auxiliary.parameters()
        assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize(
    ("name", "value", "accepted"),
    [
        ("epochs", 1.0, "an integer"),
        ("batch_size", 1, "whole numbers from 2"),
        ("learning_rate", math.inf, "finite numbers from 0"),
        ("drop_path", 1, "numbers from 0 to 0.99"),
        ("gradient_clip", 0, "above 0 \\(inf: gradients stay as they are\\)"),
        ("gradient_clip", math.nan, "a number"),
        ("augment", "no", "true, false"),
    ],
)
def test_recipes_of_no_use_are_refused(name: str, value: Any, accepted: str) -> None:
    with pytest.raises(InputError, match=f"recipe field {name!r} is {value!r}; .*: {accepted}"):
        Recipe(**{name: value})
    Recipe(gradient_clip=math.inf)
