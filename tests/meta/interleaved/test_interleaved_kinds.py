"""Detection and segmentation beside classification: one architecture, heads of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from transnas import networks, spaces
from transnas.meta.interleaved import InterleaveSettings, Interleaving
from transnas.networks._heads import backbone_of
from transnas.networks.relaxations import Softmax
from transnas.tasks import DataTask, Signature
from transnas.tasks._boxes import BoxSplit
from transnas.tasks._masks import MaskSplit
from transnas.tasks._tensors import TensorSplit

SIDE, COUNT = 64, 6
SPACE = spaces.get("nasbench201")
SKELETON = {"channels": 4, "cells": 1, "stem_stride": 4, "pyramid": 8, "head": 16}


def squares(kind: str) -> DataTask:
    """Return a task on pictures with one bright square: which side, where, or which pixels?"""
    draws = torch.Generator().manual_seed(0)
    images = torch.randint(0, 80, (COUNT, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8)
    masks = torch.zeros(COUNT, SIDE, SIDE, dtype=torch.uint8)
    boxes = []
    for i in range(COUNT):
        left = 4 + 30 * (i % 2)
        images[i, :, 10:40, left : left + 24] += 120
        masks[i, 10:40, left : left + 24] = 1
        boxes.append(torch.tensor([[left, 10.0, left + 24.0, 40.0]]))
    masks[:, 0] = 255
    mean, std, labels = torch.zeros(3, 1, 1), torch.ones(3, 1, 1), torch.arange(COUNT) % 2
    split: Any = {
        "classification": TensorSplit(images, labels, 1 / 255, mean, std),
        "detection": BoxSplit(
            images, tuple(boxes), tuple(torch.zeros(1, dtype=torch.int64) for _ in boxes), mean, std
        ),
        "segmentation": MaskSplit(images, masks, mean, std),
    }[kind]
    signature = Signature((3, SIDE, SIDE), 2, kind)
    return DataTask(kind, signature, train=split, validation=split)


def search(kinds: Sequence[str], **changes: Any) -> Interleaving:
    chosen: dict[str, Any] = {
        "iterations": 2, "batch_size": 3, "anchors": 2, "views": 2, "match_every": 1, **changes
    }  # fmt: skip
    tasks = [squares(kind) for kind in kinds]
    settings = InterleaveSettings(**chosen)
    return Interleaving(tasks, SPACE, settings, skeleton=SKELETON, device="cpu")


KINDS = ("classification", "detection", "segmentation")


@pytest.mark.parametrize("preset", ["joint", "published"])
def test_all_kinds_move_their_own_weights_and_one_architecture(preset: str) -> None:
    found = search(KINDS, preset=preset, iterations=1)
    start = [p.detach().clone() for p in found.learners[0].alpha]
    before = [{n: p.detach().clone() for n, p in x.named_weights().items()} for x in found.learners]
    assert found.run()
    assert all(not torch.equal(a, b) for a, b in zip(start, found.learners[0].alpha, strict=True))
    for learner, old in zip(found.learners, before, strict=True):
        assert learner.alpha[0] is found.learners[0].alpha[0]
        moved = {n for n, p in learner.named_weights().items() if not torch.equal(p, old[n])}
        assert any(n.startswith("head.") for n in moved)
        assert any(n.startswith("encoder.") for n in moved)
        losses = found.history.points[-1]["tasks"][learner.task.name]
        assert math.isfinite(losses["validation"])
        assert all(math.isfinite(losses[f"train/{m}"]) for m in (1, 2))


def test_a_mixed_search_goes_on_exactly_where_it_was_interrupted() -> None:
    whole, first, second = (search(KINDS[1:], rounds=1) for _ in range(3))
    whole.run()
    first.run(stop=lambda: first.iteration == 1 and first.position == 1)
    second.restore(first.state())
    second.run()
    for a, b in zip(whole.learners, second.learners, strict=True):
        for name, weight in a.named_weights().items():
            assert torch.equal(weight, b.named_weights()[name]), name
    assert torch.equal(whole.learners[0].alpha[0], second.learners[0].alpha[0])


@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_the_architecture_step_leaves_weights_and_statistics_of_a_head(kind: str) -> None:
    found = search([kind])
    head = found.learners[0].head
    before = {n: v.clone() for n, v in head.state_dict().items()}
    found.level3.step()
    assert all(torch.equal(v, before[n]) for n, v in head.state_dict().items())


@pytest.mark.parametrize("kind", ["detection", "segmentation"])
def test_an_interleaved_network_of_a_fixed_architecture_is_whole_again(kind: str) -> None:
    arch = SPACE.from_text(
        "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|skip_connect~0|none~1|none~2|"
    )
    tasks = [squares(kind), squares("classification")]
    settings = InterleaveSettings(
        iterations=1, batch_size=3, anchors=2, views=2, match_every=1, rounds=1
    )
    found = Interleaving(tasks, SPACE, settings, skeleton=SKELETON, architecture=arch, device="cpu")
    found.run()
    network = found.learners[0].whole().eval()
    assert [m.shape[1] for m in backbone_of(network)(torch.zeros(2, 3, SIDE, SIDE))] == [4, 8, 16]
    built = networks.build(SPACE, arch, tasks[0].signature, **SKELETON)
    assert network.state_dict().keys() == built.state_dict().keys()
    out = network(torch.zeros(1, 3, SIDE, SIDE))
    assert len(out) == 1


CHAIN = {
    "stem": 4, "first": 4, "widths": (4, 4, 6, 6, 8, 8), "last": 8, "stem_stride": 2,
    "strides": (2, 1, 2, 1, 1, 1),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "skeleton", "outline"),
    [
        ("nasbench201", SKELETON, ((4, 8, 16), (4, 8, 16))),
        ("proxyless", CHAIN, ((4, 4, 8), (2, 4, 8))),
    ],
)
def test_stages_of_a_supernet_on_one_path_are_those_of_the_discrete_backbone(
    name: str, skeleton: dict[str, Any], outline: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    signature, space = Signature((3, SIDE, SIDE), 2, "segmentation"), spaces.get(name)
    net = networks.supernet(space, signature, Softmax(), **skeleton)
    arch = space.sample(np.random.default_rng(0))
    images = torch.randn(2, 3, SIDE, SIDE)
    body = backbone_of(networks.build(space, arch, signature, **skeleton))
    net.copy_into(body, arch)
    expected = body.train()(images)
    assert net.outline == (body.channels, body.strides) == outline
    for ours, theirs in zip(net.train().stages(images, net.path(arch)), expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_chance_of_segmentation_is_the_entropy_of_counted_pixels() -> None:
    learner = search(["segmentation"]).learners[0]
    bright = 30 * 24 / (63 * 64)
    entropy = -bright * math.log(bright) - (1 - bright) * math.log(1 - bright)
    assert learner.chance == pytest.approx(entropy, rel=1e-5)
    constant = torch.tensor([1 - bright, bright]).log()[None, :, None, None].expand(1, 2, 64, 64)
    target = torch.zeros(1, SIDE, SIDE, dtype=torch.int64)
    target[:, 0], target[:, 10:40, 4:28] = 255, 1
    assert float(learner.kind.loss(constant, target)) == pytest.approx(entropy, rel=1e-5)
    assert float(learner.kind.score(constant, target)) == pytest.approx(1 - bright, rel=1e-5)
