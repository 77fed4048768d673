"""Baselines at equal cost, joint training, phase 2, known designs, resized tasks."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from interleaved_toys import stripes
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Subset, TensorDataset

from transnas import InputError, networks, spaces
from transnas import tasks as built_in
from transnas.evaluation.training import Recipe
from transnas.meta.interleaved import InterleaveSettings, Interleaving
from transnas.meta.interleaved.baselines import (
    BASELINES,
    Problem,
    by_hand,
    check_baselines,
    handmade,
    interleaved,
)
from transnas.meta.interleaved.phase2 import at_fixed, train_interleaved, train_separately
from transnas.spaces import Space
from transnas.tasks import DataTask, Signature
from transnas.tasks._masks import MaskSplit
from transnas.tasks._resized import resized

SETTINGS = InterleaveSettings(preset="joint", batch_size=8, anchors=2, views=4, iterations=4)
RECIPE = Recipe(batch_size=8, learning_rate=0.1)


@pytest.mark.parametrize(
    "changes", [{}, {"steps": 2}, {"warmup": 0.5}, {"alpha_schedule": "posthoc", "warmup": 0.5}]
)
@pytest.mark.parametrize("name", ["separate", "joint", "transferred"])
def test_baselines_see_as_many_images_as_interleaving(
    space: Space, tasks: list[DataTask], name: str, changes: dict[str, Any]
) -> None:
    problem = Problem(tasks, space, replace(SETTINGS, **changes), {}, {}, 0, "cpu")
    found = interleaved(problem)
    baseline = BASELINES[name](problem, found.architectures[0])
    assert baseline.cost.images == found.cost.images
    assert len(baseline.architectures) == len(tasks)
    for arch in baseline.architectures:
        space.validate(arch)


@pytest.mark.parametrize("name", ["separate", "joint", "transferred"])
def test_small_batches_of_dense_tasks_count_as_what_they_are(name: str) -> None:
    """Segmentation takes batches of 8 and lasts longest; classification takes all 16 at once."""
    place, skeleton = spaces.get("nasbench201"), {"channels": 4, "cells": 1}
    dense = masked(3)
    images = TensorDataset(torch.rand(16, 3, 16, 16), torch.arange(16) % 2)
    plain = DataTask.from_datasets("plain", images, images)
    settings = InterleaveSettings(preset="none", batch_size=16, epochs=1)
    problem = Problem([dense, plain], place, settings, skeleton, skeleton, 0, "cpu")
    found = BASELINES[name](problem, handmade(place))
    main = Interleaving([dense, plain], place, settings, skeleton=skeleton, device="cpu")
    assert main.iterations == 2
    assert found.cost.images == main.iterations * 3 * (8 + 16)


def masked(channels: int) -> DataTask:
    """Return a segmentation of 16 pictures of noise, 16x16 pixels."""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, channels, 16, 16), generator=draws, dtype=torch.uint8)
    zero, one = torch.zeros(channels, 1, 1), torch.ones(channels, 1, 1)
    split = MaskSplit(images, (images[:, 0] > 127).to(torch.uint8), zero, one)
    signature = Signature((channels, 16, 16), 2, "segmentation")
    return DataTask("masks", signature, "validation_miou", train=split, validation=split)


def test_grey_tasks_are_joined_with_colours_of_any_kind(tasks: list[DataTask]) -> None:
    place, skeleton = spaces.get("nasbench201"), {"channels": 4, "cells": 1}
    mixed = [tasks[0], masked(3)]
    check_baselines(mixed, place)
    settings = replace(SETTINGS, iterations=1)
    found = BASELINES["joint"](
        Problem(mixed, place, settings, skeleton, skeleton, 0, "cpu"), handmade(place)
    )
    (search,) = found.searches
    assert [t.signature.input_shape for t in search.tasks] == [(3, 8, 8), (3, 16, 16)]
    assert search.tasks[1] is mixed[1]
    assert mixed[0].signature.input_shape == (1, 8, 8)


def test_tasks_that_cannot_be_joined_are_refused(tasks: list[DataTask]) -> None:
    place, lazy = spaces.get("nasbench201"), Subset(tasks[0].train, range(8))
    four = replace(tasks[2], name="four", signature=Signature((4, 12, 12), 3))
    for other, sentence in (
        (masked(1), "need task 'masks' in 3 channels, but task 'masks' is a segmentation, whose"),
        (replace(tasks[0], train=lazy), "task 'a' in 3 channels, but task 'a' is not held in mem"),
        (four, "need task 'c' in 4 channels, but channels 4 is not accepted; accepted: 1 or 3"),
    ):
        with pytest.raises(InputError, match=sentence):
            check_baselines([other, tasks[2]], place)
    check_baselines(tasks, place)
    with pytest.raises(InputError, match="space 'pnas' has no known design"):
        check_baselines(tasks, spaces.get("pnas"))


def joint(space: Space, tasks: list[DataTask]) -> Interleaving:
    """Return a joint training of two tasks by plain steps of 0.1."""
    settings = InterleaveSettings(
        preset="hard", updates="summed", rounds=1, iterations=2, batch_size=8, momentum=0.0,
        weight_decay=0.0, gradient_clip=1e9, learning_rate=0.1,
    )  # fmt: skip
    return Interleaving(tasks[:2], space, settings, skeleton={}, device="cpu")


def test_joint_training_moves_the_encoder_down_the_mean_loss(
    space: Space, tasks: list[DataTask]
) -> None:
    search, twin = (joint(space, tasks) for _ in range(2))
    search.advance()
    losses: list[Tensor] = []
    for learner in twin.learners:
        images, labels = learner.train.next()
        losses.append(F.cross_entropy(learner.head(learner.encoder(images, learner.mix())), labels))
    gradients = torch.autograd.grad(torch.stack(losses).mean(), twin.shared)
    for moved, start, g in zip(search.shared, twin.shared, gradients, strict=True):
        torch.testing.assert_close(moved, start - 0.1 * g)
    with pytest.raises(InputError, match="updates is 'summed' with preset 'joint'"):
        InterleaveSettings(updates="summed")


def test_joint_training_counts_tasks_that_diverged_less(
    space: Space, tasks: list[DataTask]
) -> None:
    search, twin = (joint(space, tasks) for _ in range(2))
    search.learners[1].factor = 0.25
    search.advance()
    total = torch.zeros(())
    for learner, share in zip(twin.learners, (0.5, 0.125), strict=True):
        images, labels = learner.train.next()
        scores = learner.head(learner.encoder(images, learner.mix()))
        total = total + share * F.cross_entropy(scores, labels)
    for moved, start, g in zip(
        search.shared, twin.shared, torch.autograd.grad(total, twin.shared), strict=True
    ):
        torch.testing.assert_close(moved, start - 0.1 * g)


def test_the_largest_task_is_the_one_that_is_transferred(space: Space) -> None:
    given = [stripes(name, count) for name, count in (("a", 24), ("b", 48), ("c", 24))]
    problem = Problem(given, space, SETTINGS, {}, {}, 0, "cpu")
    (search,) = BASELINES["transferred"](problem, space.architecture((0, 1))).searches
    assert [t.name for t in search.tasks] == ["b"]


def test_phase_two_interleaved_follows_the_recipe(space: Space, tasks: list[DataTask]) -> None:
    """One task at one round: SGD with the recipe's momentum and decay, along a cosine to 0."""
    recipe = Recipe(
        batch_size=8, learning_rate=0.2, momentum=0.5, weight_decay=0.01, gradient_clip=0.3
    )
    settings = at_fixed(replace(SETTINGS, preset="none", transfer_weight=0.0), recipe, 2)
    arch = space.architecture((0, 1))
    search, twin = (
        Interleaving(tasks[:1], space, settings, skeleton={}, architecture=arch, device="cpu")
        for _ in range(2)
    )
    search.run()
    assert search.iterations == 4
    (learner,) = twin.learners
    weights = [*learner.encoder.parameters(), *learner.head.parameters()]
    sgd = torch.optim.SGD(weights, lr=1.0, momentum=0.5, weight_decay=0.01)
    for done in range(4):
        sgd.param_groups[0]["lr"] = 0.1 * (1 + math.cos(math.pi * done / 4))
        images, labels = learner.train.next()
        sgd.zero_grad()
        F.cross_entropy(learner.head(learner.encoder(images)), labels).backward()
        torch.nn.utils.clip_grad_norm_(weights, 0.3)
        sgd.step()
    trained = [*search.learners[0].encoder.parameters(), *search.learners[0].head.parameters()]
    for moved, wanted in zip(trained, weights, strict=True):
        torch.testing.assert_close(moved, wanted)


def test_phase_two_trains_whole_networks_both_ways(space: Space, tasks: list[DataTask]) -> None:
    arch = space.architecture((0, 1))
    alone = train_separately(tasks[0], space, arch, {}, RECIPE, 2, 0, "cpu")
    again = train_separately(tasks[0], space, arch, {}, RECIPE, 2, 0, "cpu")
    assert alone.metrics == again.metrics
    assert alone.images == 2 * 16
    for trained, task in zip(
        train_interleaved(tasks, space, arch, {}, RECIPE, 2, 0, SETTINGS, "cpu"), tasks, strict=True
    ):
        scores = trained.network(torch.zeros(2, *task.signature.input_shape))
        assert scores.shape == (2, 3)
        assert 0.0 <= trained.metrics["validation_accuracy"] <= 1.0
        assert trained.metrics["parameters"] == sum(p.numel() for p in trained.network.parameters())


def test_phase_two_gives_each_task_its_head_on_a_shared_encoder(space: Space) -> None:
    tasks = [stripes("a", seed=1), stripes("b", seed=2, classes=2)]
    shared = InterleaveSettings(preset="hard", batch_size=8, iterations=4)
    arch = space.architecture((0, 1))
    found = train_interleaved(tasks, space, arch, {}, RECIPE, 2, 0, shared, "cpu")
    image = torch.zeros(2, 1, 8, 8)
    assert [t.network(image).shape[1] for t in found] == [3, 2]


@pytest.mark.parametrize("name", ["nasbench201", "darts", "proxyless"])
def test_known_designs_are_architectures_of_their_spaces(name: str) -> None:
    place = spaces.get(name)
    place.validate(handmade(place))
    with pytest.raises(InputError, match="space 'pnas' has no known design"):
        handmade(spaces.get("pnas"))


def test_the_network_by_hand_is_about_as_large() -> None:
    place, task = spaces.get("nasbench201"), built_in.get("digits", limit=5)
    assert isinstance(task, DataTask)
    skeleton = {"channels": 8, "cells": 1}
    wanted = place.from_text(
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|none~2|"
    )
    found = by_hand(Problem([task], place, SETTINGS, skeleton, skeleton, 0, "cpu"), wanted)
    assert found.skeleton is not None
    sizes = [
        sum(p.numel() for p in networks.build(place, arch, task.signature, **chosen).parameters())
        for arch, chosen in ((wanted, skeleton), (found.architectures[0], found.skeleton))
    ]
    assert sizes[1] == pytest.approx(sizes[0], rel=0.15)


def test_resized_tasks_average_pixels_and_keep_their_splits() -> None:
    task = built_in.get("digits", limit=5)
    assert isinstance(task, DataTask)
    small = resized(task, 4, 3)
    assert small.signature == Signature((3, 4, 4), 10)
    image, label = small.train[7]
    original, same = task.train[7]
    assert label == same
    torch.testing.assert_close(image[0], F.avg_pool2d(original, 2)[0])
    assert small.has_test
    with pytest.raises(InputError, match="size 2"):
        resized(task, 2)
