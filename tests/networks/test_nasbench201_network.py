"""The NAS-Bench-201 network against published counts, torch's counter, and hand-made cells."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from transnas import InputError, networks, spaces
from transnas.networks.nasbench201 import Cell, Skeleton, flops, parameters
from transnas.networks.operations import Mode
from transnas.spaces import Architecture
from transnas.spaces.nasbench201 import OPERATIONS
from transnas.tasks import Signature

torch.set_num_threads(1)
SPACE = spaces.get("nasbench201")
CIFAR10, CIFAR100 = Signature((3, 32, 32), 10), Signature((3, 32, 32), 100)
IMAGENET16 = Signature((3, 16, 16), 120)


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def arch(*codes: int) -> Architecture:
    return SPACE.architecture(codes)


@pytest.mark.parametrize(
    ("signature", "base", "all_3x3"),
    [
        (CIFAR10, 73_306, 1_531_546),
        (CIFAR100, 79_156, 1_537_396),
        (IMAGENET16, 80_456, 1_538_696),
    ],
)
def test_published_parameter_counts(signature: Signature, base: int, all_3x3: int) -> None:
    for codes, published in (((0,) * 6, base), ((3,) * 6, all_3x3), ((2,) * 6, base + 168_000)):
        assert parameters(arch(*codes), signature) == published
        assert count(networks.build(SPACE, arch(*codes), signature)) == published


def test_published_multiply_adds() -> None:
    assert flops(arch(*[1] * 6), CIFAR10) == 7_783_050
    assert flops(arch(3, 0, 0, 0, 0, 0), CIFAR10) == 7_783_050 + 35_389_440
    assert flops(arch(2, 0, 0, 0, 0, 0), CIFAR10) == 7_783_050 + 3_932_160
    assert flops(arch(*[4] * 6), IMAGENET16) == 1_953_400
    assert flops(arch(3, 2, 0, 0, 0, 0), IMAGENET16) == 1_953_400 + 8_847_360 + 983_040


CASES = [
    (Signature((1, 8, 8), 10), {"channels": 8, "cells": 1}),
    (Signature((3, 17, 15), 4), {"channels": 5, "cells": 2}),
    (Signature((2, 1, 1), 2), {"channels": 4, "cells": 1}),
    (Signature((4, 33, 12), 7), {"channels": 4, "cells": 1, "stem_stride": 4}),
]


@pytest.mark.parametrize(("signature", "skeleton"), CASES)
def test_formulas_agree_with_the_built_network(
    signature: Signature, skeleton: dict[str, int]
) -> None:
    rng = np.random.default_rng(0)
    for cell in [SPACE.sample(rng) for _ in range(12)]:
        network = networks.build(SPACE, cell, signature, **skeleton).eval()
        images = torch.randn(2, *signature.input_shape)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            assert network(images[:1]).shape == (1, signature.outputs)
        chosen = Skeleton(**skeleton)
        assert count(network) == parameters(cell, signature, chosen)
        counted = 2 * (flops(cell, signature, chosen) - signature.outputs)
        assert counter.get_total_flops() == counted
        assert network.train()(images).isfinite().all()


@pytest.mark.slow
def test_every_kind_of_cell_is_counted_right() -> None:
    kinds = itertools.combinations_with_replacement(range(5), 6)
    with torch.device("meta"):
        for codes in kinds:
            network = networks.build(SPACE, arch(*codes), CIFAR100)
            assert count(network) == parameters(arch(*codes), CIFAR100)


def test_cell_is_the_sum_that_its_text_says() -> None:
    cell = Cell(tuple(OPERATIONS[c] for c in (3, 2, 1, 4, 0, 1)), 4, Mode()).eval()
    x = torch.randn(2, 4, 5, 5)
    one = cell.edges[0](x)
    two = cell.edges[1](x) + one
    expected = nn.AvgPool2d(3, 1, 1, count_include_pad=False)(x) + two
    assert torch.allclose(cell(x), expected, atol=1e-6)


def test_isomorphic_cells_with_the_same_weights_compute_the_same() -> None:
    # 0 -> 1 -> 3 and 0 -> 2 -> 3 with the same two operations.
    first = networks.build(SPACE, arch(3, 0, 0, 0, 2, 0), CIFAR10, channels=4, cells=1).eval()
    second = networks.build(SPACE, arch(0, 3, 0, 0, 0, 2), CIFAR10, channels=4, cells=1).eval()
    assert SPACE.canonical(arch(3, 0, 0, 0, 2, 0)) == SPACE.canonical(arch(0, 3, 0, 0, 0, 2))
    moved = {
        name.replace("edges.0.", "edges.1.").replace("edges.4.", "edges.5."): value
        for name, value in first.state_dict().items()
    }
    second.load_state_dict(moved)
    images = torch.randn(3, 3, 32, 32)
    assert torch.allclose(first(images), second(images), atol=1e-5)


def test_disconnected_cell_gives_every_image_the_same_scores() -> None:
    network = networks.build(SPACE, arch(3, 3, 3, 0, 0, 0), CIFAR10, channels=4, cells=1).eval()
    scores = network(torch.randn(4, 3, 32, 32))
    assert torch.allclose(scores, scores[:1].expand_as(scores))


def test_weights_are_drawn_with_the_variance_of_he() -> None:
    torch.manual_seed(0)
    network = networks.build(SPACE, arch(*[3] * 6), CIFAR10)
    stages = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 64]
    weights = torch.cat([m.weight.detach().flatten() for m in stages])
    assert float(weights.var()) == pytest.approx(2 / (64 * 9), rel=0.02)


def test_build_remembers_its_origin_and_is_deterministic() -> None:
    torch.manual_seed(3)
    first = networks.build(SPACE, arch(*[3] * 6), CIFAR10, channels=4)
    torch.manual_seed(3)
    second = networks.build(SPACE, arch(*[3] * 6), CIFAR10, channels=4)
    found = networks.origin(first)
    assert found is not None
    assert SPACE.from_json(found.architecture) == arch(*[3] * 6)
    assert (found.space, found.signature, found.skeleton) == (SPACE.name, CIFAR10, {"channels": 4})
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert networks.origin(nn.Linear(1, 1)) is None


def test_suggested_skeletons_fit_the_images() -> None:
    assert networks.suggest(SPACE, Signature((1, 8, 8), 10)) == {"channels": 16, "cells": 1}
    for side, stride in ((28, 1), (32, 1), (64, 1), (84, 2), (128, 2), (224, 4)):
        assert networks.suggest(SPACE, Signature((3, side, side), 2))["stem_stride"] == stride


def test_bad_skeletons_and_architectures_are_refused() -> None:
    good = arch(*[0] * 6)
    with pytest.raises(InputError, match="did you mean 'channels'"):
        networks.build(SPACE, good, CIFAR10, chanels=4)
    for value in (0, -1, 1.5, "4", True):
        with pytest.raises(InputError, match=r"'cells' is .* accepted: whole numbers"):
            networks.build(SPACE, good, CIFAR10, cells=value)
    with pytest.raises(InputError, match="accepted"):
        networks.build(SPACE, Architecture("nasbench201", (9,) * 6), CIFAR10)
    assert "nasbench201" in networks.names()
