"""Residual networks: published ones are torchvision's, and every head gives what its kind says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from torch.nn import functional as F

from transnas import InputError, networks, spaces
from transnas.networks._heads import Segmenter
from transnas.networks.residual import Backbone, Skeleton
from transnas.spaces.residual import Residual
from transnas.tasks import Signature

SPACE = spaces.get("residual")
SMALL = spaces.get("residual-small")
IMAGENET = Signature((3, 224, 224), 1000)
PUBLISHED = [
    ("basic_64_11-21-21-21", "resnet18", 11_689_512),
    ("basic_64_111-2111-211111-211", "resnet34", 21_797_672),
    ("bottleneck_64_111-2111-211111-211", "resnet50", 25_557_032),
    ("resnext_64_111-2111-211111-211", "resnext50_32x4d", 25_028_904),
]


@pytest.mark.parametrize(("text", "name", "count"), PUBLISHED)
def test_published_networks_have_torchvisions_parameters(text: str, name: str, count: int) -> None:
    with torch.device("meta"):
        ours = networks.build(SPACE, SPACE.from_text(text), IMAGENET)
        theirs = torchvision.models.get_model(name)
    assert sum(p.numel() for p in ours.parameters()) == count
    assert sorted(p.shape for p in ours.parameters()) == sorted(
        p.shape for p in theirs.parameters()
    )


@pytest.mark.parametrize(("text", "name", "count"), [PUBLISHED[0], PUBLISHED[3]])
def test_published_networks_compute_what_torchvisions_do(text: str, name: str, count: int) -> None:
    # The shortcut is defined after the body in both, so weights correspond in order.
    signature = Signature((3, 64, 96), 1000)
    torch.manual_seed(0)
    theirs = torchvision.models.get_model(name).eval()
    ours = networks.build(SPACE, SPACE.from_text(text), signature, large_stem=True).eval()
    weights = zip(ours.state_dict().values(), theirs.state_dict().values(), strict=True)
    for mine, other in weights:
        mine.copy_(other)
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_stages_reduce_and_widen_as_the_string_says() -> None:
    assert isinstance(SMALL, Residual)
    plan = SMALL.plan(SMALL.from_text("bottleneck_8_1-2-1-12-1"))
    backbone = Backbone(plan, 1, Skeleton())
    assert backbone.channels == (32, 64, 64, 128, 128)
    assert backbone.strides == (4, 8, 16, 32, 64)
    features = backbone(torch.zeros(2, 1, 130, 97))
    assert [tuple(f.shape) for f in features] == [
        (2, c, -(-130 // s), -(-97 // s))
        for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize(("longest", "strides"), [(8, (4, 8, 8, 8)), (16, (4, 8, 16, 16))])
def test_dilated_stages_compute_what_halved_ones_do(
    block: str, longest: int, strides: tuple[int, ...]
) -> None:
    # With dilation in place of stride, every second (or fourth) pixel has the undilated features.
    assert isinstance(SMALL, Residual)
    plan = SMALL.plan(SMALL.from_text(f"{block}_8_1-2-21-21"))
    torch.manual_seed(0)
    halved = Backbone(plan, 3, Skeleton()).double().eval()
    dilated = Backbone(plan, 3, Skeleton(), longest).double().eval()
    dilated.load_state_dict(halved.state_dict())
    assert dilated.strides == strides
    images = torch.randn(1, 3, 128, 192, dtype=torch.float64)
    with torch.no_grad():
        coarse, fine = halved(images)[-1], dilated(images)[-1]
    step = 32 // longest
    torch.testing.assert_close(fine[:, :, ::step, ::step], coarse)


@pytest.mark.parametrize("side", [8, 16, 33, 64])
def test_networks_of_small_images_train(side: int) -> None:
    signature, rng = Signature((1, side, side), 5), np.random.default_rng(side)
    for _ in range(3):
        arch = SMALL.sample(rng)
        skeleton = networks.suggest(SMALL, signature)
        network = networks.build(SMALL, arch, signature, **skeleton)
        scores = network(torch.randn(3, 1, side, side))
        assert scores.shape == (3, 5)
        scores.square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_segmentation_scores_every_pixel() -> None:
    signature, rng = Signature((3, 45, 60), 7, "segmentation"), np.random.default_rng(0)
    skeleton = networks.suggest(SMALL, signature)
    network = networks.build(SMALL, SMALL.sample(rng), signature, **skeleton)
    scores = network(torch.randn(2, 3, 45, 60))
    assert scores.shape == (2, 7, 45, 60)
    scores.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_segmentation_adds_the_finest_scores_to_the_coarsest() -> None:
    torch.manual_seed(0)
    signature = Signature((3, 24, 20), 4, "segmentation")
    network = networks.build(
        SMALL, SMALL.from_text("basic_8_1-21-2-1"), signature, **networks.suggest(SMALL, signature)
    ).eval()
    assert isinstance(network, Segmenter)
    x = torch.randn(2, 3, 24, 20)
    first, *_, last = network.backbone(x)
    head = network.head
    coarse = head[4](head[1](head[0](last)).clamp(min=0))
    both = F.interpolate(coarse, first.shape[2:], mode="bilinear") + network.fine(first)
    torch.testing.assert_close(network(x), F.interpolate(both, (24, 20), mode="bilinear"))


@pytest.mark.parametrize(("side", "widths"), [(96, (4, 6)), (400, (8,))])
def test_anchors_are_so_many_strides_wide(side: int, widths: tuple[int, ...]) -> None:
    signature = Signature((3, side, side), 2, "detection")
    with torch.device("meta"):
        network = networks.build(SMALL, SMALL.from_text("basic_8_1-21-2-1"), signature)
    strides = (*network.dense.backbone.strides, 2 * network.dense.backbone.strides[-1])
    generator = network.detector.rpn.anchor_generator
    assert generator.sizes == tuple(tuple(w * s for w in widths) for s in strides)
    assert set(generator.aspect_ratios) == {(0.5, 1.0, 2.0)}


def test_a_detector_keeps_its_background_to_itself() -> None:
    torch.manual_seed(0)
    signature = Signature((3, 64, 64), 2, "detection")
    network = networks.build(
        SMALL, SMALL.from_text("basic_8_1-21-2-1"), signature, **networks.suggest(SMALL, signature)
    )
    assert network.detector.roi_heads.box_predictor.cls_score.out_features == 3
    seen: list[tuple[object, ...]] = []
    network.detector.register_forward_hook(lambda _, args, out: seen.append((*args, out)))
    target = {"boxes": torch.tensor([[8.0, 8, 40, 50]]), "labels": torch.tensor([0])}
    images = torch.randn(2, 3, 64, 64)
    network(images, [target, target])
    given = seen[-1][1]
    assert [t["labels"].tolist() for t in given] == [[1], [1]]  # type: ignore[attr-defined]
    found = network.eval()(images)
    raw = seen[-1][-1]
    for ours, theirs in zip(found, raw, strict=True):  # type: ignore[call-overload]
        assert torch.equal(ours["labels"], theirs["labels"] - 1)
        assert torch.equal(ours["boxes"], theirs["boxes"])


@pytest.mark.parametrize("text", ["basic_8_1-21-2-1", "bottleneck_8_1-1-2-1-2"])
def test_detection_gives_losses_in_training_and_boxes_afterwards(text: str) -> None:
    signature = Signature((3, 96, 128), 2, "detection")
    torch.manual_seed(0)
    network = networks.build(
        SMALL, SMALL.from_text(text), signature, **networks.suggest(SMALL, signature)
    )
    images = torch.randn(2, 3, 96, 128)
    target = {"boxes": torch.tensor([[8.0, 8, 60, 70]]), "labels": torch.tensor([1])}
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    losses = network(images, [target, empty])
    total = sum(losses.values())
    total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    found = network.eval()(images)
    assert len(found) == 2
    for image in found:
        assert image["boxes"].shape == (len(image["scores"]), 4)
        assert set(image["labels"].tolist()) <= {0, 1}


def test_what_does_not_fit_is_refused_in_a_sentence() -> None:
    cells = spaces.get("darts")
    arch = cells.sample(np.random.default_rng(0))
    with pytest.raises(
        InputError, match="for detection; accepted: nasbench201, proxyless, residual"
    ):
        networks.build(cells, arch, Signature((3, 96, 96), 2, "detection"))
    small = SMALL.sample(np.random.default_rng(0))
    with pytest.raises(InputError, match="too small for a feature pyramid; accepted"):
        networks.build(SMALL, small, Signature((3, 32, 32), 2, "detection"))
    for skeleton in ({"halvings": -1}, {"pyramid": 0}, {"depth": 3}):
        with pytest.raises(InputError, match="skeleton setting"):
            networks.build(SMALL, small, IMAGENET, **skeleton)
