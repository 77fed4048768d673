"""Networks of chains: published ProxylessNAS counts, ENAS layers and anchors written out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transnas import InputError, networks, spaces
from transnas.evaluation._counting import flops
from transnas.networks import chain, enas_macro, proxyless
from transnas.networks.operations import Mode
from transnas.networks.relaxations import Softmax
from transnas.spaces.proxyless import ProxylessNAS
from transnas.tasks import Signature

IMAGENET = Signature((3, 224, 224), 1000)


def blocks(text: str) -> str:
    """Return a space's text from words such as `35 33 -- --`, stages separated by slashes."""
    names = {"--": "zero"}
    return "/".join(
        ",".join(names.get(w, f"mb{w[0]}_k{w[1]}") for w in stage.split())
        for stage in text.split("/")
    )


GPU: tuple[str, dict[str, Any]] = (
    "35 -- -- -- / 37 -- -- 33 / 67 -- -- 35 / 65 -- 33 35 / 67 67 67 65 / 67",
    {"stem": 40, "first": 24, "widths": (32, 56, 112, 128, 256, 432), "last": 1728},
)
MOBILE: tuple[str, dict[str, Any]] = (
    "35 33 -- -- / 37 33 35 35 / 67 35 35 35 / 65 35 35 35 / 67 67 37 37 / 67",
    {"widths": (32, 40, 80, 96, 192, 320)},
)


@pytest.mark.parametrize(
    ("text", "skeleton", "parameters"),
    [
        (*GPU, 7_119_848),
        (*MOBILE, 4_080_512),
        (
            "63 33 33 33 / 63 33 33 35 / 63 -- -- 33 / 65 33 33 33 / 65 35 35 33 / 65",
            {"stem": 40, "first": 24, "widths": (32, 48, 88, 104, 216, 360), "last": 1432},
            4_361_648,
        ),
        (
            MOBILE[0],
            {"stem": 48, "first": 24, "widths": (40, 56, 112, 136, 256, 448), "last": 1792},
            6_857_568,
        ),
    ],
    ids=["gpu", "mobile", "cpu", "mobile-14"],
)
def test_proxyless_networks_count_as_published(
    text: str, skeleton: dict[str, Any], parameters: int
) -> None:
    space = spaces.get("proxyless")
    assert isinstance(space, ProxylessNAS)
    with torch.device("meta"):
        network = networks.build(space, space.from_text(blocks(text)), IMAGENET, **skeleton)
    assert sum(p.numel() for p in network.parameters()) == parameters


@pytest.mark.parametrize(
    ("name", "skeleton"),
    [
        ("proxyless", {"stem": 8, "first": 8, "widths": (8,) * 6, "last": 16}),
        ("enas-macro", {"channels": 6}),
        ("enas-micro", {"channels": 4, "layers": 3}),
        ("chain", {}),
        ("chain", {"stem_stride": 2}),
    ],
)
def test_every_sampled_architecture_builds_and_learns_on_odd_maps(
    name: str, skeleton: dict[str, Any]
) -> None:
    space, rng = spaces.get(name), np.random.default_rng(0)
    signature = Signature((1, 17, 13), 3)
    for _ in range(3):
        network = networks.build(space, space.sample(rng), signature, **skeleton)
        out = network(torch.randn(2, 1, 17, 13))
        out.sum().backward()
        assert out.shape == (2, 3)
        assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("side", [8, 100])
def test_every_space_suggests_a_skeleton_that_runs(side: int) -> None:
    signature = Signature((3, side, side), 10)
    for name in ("proxyless", "enas-macro", "enas-micro", "chain", "darts", "nasnet", "pnas"):
        space = spaces.get(name)
        arch = space.sample(np.random.default_rng(side))
        skeleton = networks.suggest(space, signature)
        with torch.device("meta"):
            network = networks.build(space, arch, signature, **skeleton)
            assert network(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_an_enas_layer_adds_the_layers_it_reads() -> None:
    torch.manual_seed(0)
    layer = enas_macro.Layer("sep_5x5", (0, 2), 4)
    earlier = [torch.randn(2, 4, 5, 5) for _ in range(3)]
    total = layer.branch(earlier[2]) + earlier[0] + earlier[2]
    assert torch.allclose(layer(earlier, earlier[2]), layer.norm(total), atol=1e-6)
    # 1x1 and depthwise 5x5 and pointwise convolutions, two normalisations, the last one.
    assert sum(p.numel() for p in layer.parameters()) == 16 + 8 + 100 + 16 + 8 + 8


@pytest.mark.parametrize(
    ("text", "skeleton", "millions"),
    [
        (*GPU, 465),
        (*MOBILE, 320),
    ],
    ids=["gpu", "mobile"],
)
def test_proxyless_networks_multiply_and_add_as_published(
    text: str, skeleton: dict[str, Any], millions: int
) -> None:
    space = spaces.get("proxyless")
    with torch.device("meta"):
        network = networks.build(space, space.from_text(blocks(text)), IMAGENET, **skeleton)
    assert flops(network, IMAGENET) / 1e6 == pytest.approx(millions, abs=1)


def test_a_bottleneck_equals_its_definition_written_out() -> None:
    torch.manual_seed(0)
    block = proxyless.InvertedBottleneck(4, 4, "mb3_k5", 1)
    x = 9 * torch.randn(3, 4, 7, 6)
    expand, _, _, depthwise, _, _, project, _ = block.body

    def normalised(y: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(y, None, None, training=True, eps=1e-3)

    with torch.no_grad():
        for norm in (block.body[1], block.body[4]):
            norm.weight.fill_(5.0)  # so that ReLU6 cuts at both ends
    y = (5 * normalised(F.conv2d(x, expand.weight))).clamp(0, 6)
    y = (5 * normalised(F.conv2d(y, depthwise.weight, padding=2, groups=12))).clamp(0, 6)
    torch.testing.assert_close(block(x), x + normalised(F.conv2d(y, project.weight)))
    plain = proxyless.InvertedBottleneck(4, 4, "mb1_k3", 1).body
    assert [type(layer).__name__ for layer in plain] == [
        "Conv2d", "BatchNorm2d", "ReLU6", "Conv2d", "BatchNorm2d",
    ]  # fmt: skip


def test_enas_chains_halve_their_maps_after_each_third() -> None:
    space = spaces.get("enas-macro")
    network = networks.build(
        space, space.sample(np.random.default_rng(0)), Signature((3, 20, 12), 5), channels=4
    )
    seen: list[tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]] = []
    for layer in network.layers:
        layer.register_forward_hook(lambda _, args, out: seen.append((list(args[0]), args[1], out)))
    network.eval()(torch.randn(2, 3, 20, 12))
    sizes = [out.shape[2:] for _, _, out in seen]
    assert sizes == [(20, 12)] * 4 + [(10, 6)] * 4 + [(5, 3)] * 4
    # Every earlier layer is halved by a reduction of its own, the last one is read.
    for k in (4, 8):
        whole = seen[k - 1][0] + [seen[k - 1][2]]
        earlier, before, _ = seen[k]
        for i, halve in enumerate(network.reductions[str(k - 1)]):
            torch.testing.assert_close(earlier[i], halve(whole[i]))
        assert before is earlier[-1]


def test_operations_of_enas_layers_are_their_definitions() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 6, 7)
    for name, joined in (("avg_pool_3x3", torch.mean), ("max_pool_3x3", torch.amax)):
        layer = enas_macro.branch(name, 4, Mode())
        before, out = layer[:3](x), layer(x)
        for i, j in ((0, 0), (0, 3), (5, 6), (2, 2)):
            around = before[:, :, max(0, i - 1) : i + 2, max(0, j - 1) : j + 2]
            torch.testing.assert_close(out[:, :, i, j], joined(around, dim=(2, 3)))
    for name, count in (("conv_5x5", 1), ("sep_5x5", 4)):
        layer = enas_macro.branch(name, 4, Mode())
        conv = layer[3]
        y = F.conv2d(layer[:3](x), conv.weight, padding=2, groups=count)
        y = F.conv2d(y, layer[4].weight) if count > 1 else y
        expected = F.batch_norm(y, None, None, training=True).clamp(min=0)
        torch.testing.assert_close(layer(x), expected)


def test_anchors_are_concatenated_and_loose_ends_reach_the_classifier() -> None:
    torch.manual_seed(0)
    plan = [((3, 1, 4), ()), ((1, 1, 5), (0,)), ((5, 5, 6), (0, 1)), ((3, 3, 7), ())]
    network = chain.Network(plan, Signature((2, 6, 6), 3)).eval()
    x = torch.randn(2, 2, 6, 6)
    a = network.layers[0](x)
    b = network.layers[1](a)
    c = network.layers[2](torch.cat([a, b], dim=1))
    d = network.layers[3](x)
    expected = network.head(torch.cat([c, d], dim=1).mean(dim=(2, 3)))
    assert torch.allclose(network(x), expected, atol=1e-6)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [m.in_channels for m in convolutions] == [2, 4, 9, 2]
    kernel = network.layers[0][0].weight
    assert kernel.shape == (4, 2, 3, 1)
    by_hand = F.conv2d(x, kernel, padding=(1, 0)).clamp(min=0) / (1 + 1e-5) ** 0.5
    torch.testing.assert_close(a, by_hand)


def test_bad_skeletons_are_refused() -> None:
    space = spaces.get("proxyless")
    arch = space.sample(np.random.default_rng(0))
    with pytest.raises(InputError, match="'widths' has 2 values; accepted: 6"):
        networks.build(space, arch, IMAGENET, widths=(8, 16))
    with pytest.raises(InputError, match="'widths' is 0"):
        networks.build(space, arch, IMAGENET, widths=(8, 8, 8, 8, 8, 0))
    with pytest.raises(InputError, match="'widths' is 24; accepted: 6 whole numbers"):
        networks.build(space, arch, IMAGENET, widths=24)


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("darts", {"drop_path": "high"}),
        ("darts", {"drop_path": float("nan")}),
        ("enas-micro", {"drop_path": None}),
        ("fractal", {"drop_path": True}),
        ("darts-recurrent", {"input_dropout": "0.2"}),
        ("darts", {"auxiliary": "no"}),
        ("residual", {"large_stem": 0}),
        ("residual", {"halvings": True}),
    ],
)
def test_settings_of_a_wrong_type_are_refused(name: str, setting: dict[str, Any]) -> None:
    space = spaces.get(name)
    signature = Signature((5,), 11, "language") if name.endswith("recurrent") else IMAGENET
    with pytest.raises(InputError, match=f"setting '{next(iter(setting))}' is .*; accepted: "):
        networks.build(space, space.at(0), signature, **setting)


@pytest.mark.parametrize(
    ("name", "skeleton"),
    [
        ("enas-macro", {"channels": 1}),
        ("darts", {"channels": 1, "stem": "imagenet"}),
        ("nasnet", {"filters": 1, "stem_channels": 1, "stem": "imagenet"}),
    ],
)
def test_too_few_channels_to_halve_a_map_are_refused(name: str, skeleton: dict[str, Any]) -> None:
    space = spaces.get(name)
    with pytest.raises(InputError, match="halve"):
        networks.build(space, space.at(0), IMAGENET, **skeleton)


@pytest.mark.parametrize("shape", [(2, 100, 2), (1, 5, 200)])
@pytest.mark.parametrize("name", ["chain", "path-level", "nasnet"])
def test_long_and_narrow_images_are_read(name: str, shape: tuple[int, int, int]) -> None:
    space, signature = spaces.get(name), Signature(shape, 2)
    skeleton = networks.suggest(space, signature)
    with torch.device("meta"):
        network = networks.build(space, space.at(0), signature, **skeleton)
        assert network(torch.zeros(2, *shape)).shape == (2, 2)
        if name == "chain":
            supernet = networks.supernet(space, signature, Softmax(), **skeleton)
            assert supernet(torch.zeros(2, *shape)).shape == (2, 2)


def test_images_too_narrow_for_a_stem_without_padding_are_refused() -> None:
    space = spaces.get("pnas")
    with pytest.raises(InputError, match=r"images of 2x100 pixels.* at least 3 pixels"):
        networks.build(space, space.at(0), Signature((1, 100, 2), 2), stem="imagenet")
