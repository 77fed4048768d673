"""Operations: shapes at both strides and odd sizes, definitions by hand, modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from transnas import InputError
from transnas.networks.operations import (
    FactorizedReduce,
    Mode,
    Pool,
    ReLUConvBN,
    initialise,
    operation,
)

torch.set_num_threads(1)
NAMES = (
    "none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3", "max_pool_3x3",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 9), (1, 1), (2, 3)])
@pytest.mark.parametrize("channels", [(4, 4), (4, 6), (3, 5)])
def test_shapes_and_gradients(
    name: str, stride: int, size: tuple[int, int], channels: tuple[int, int]
) -> None:
    for mode in (Mode(), Mode(affine=False, pool_bn=True, track_running_stats=False)):
        x = torch.randn(2, channels[0], *size, requires_grad=True)
        op = operation(name, *channels, stride, mode)
        out = op(x)
        assert out.shape == (2, channels[1], -(-size[0] // stride), -(-size[1] // stride))
        if name == "none":
            assert not out.any()
            continue
        out.square().sum().backward()
        assert x.grad is not None
        assert x.grad.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in op.parameters())


def test_zero_has_the_gradient_of_nothing() -> None:
    x = torch.full((1, 2, 3, 3), float("nan"))
    assert not operation("none", 2, 2)(x).any()


def test_average_pooling_does_not_count_the_padding() -> None:
    out = operation("avg_pool_3x3", 1, 1)(torch.ones(1, 1, 4, 5))
    assert torch.equal(out, torch.ones(1, 1, 4, 5))


def test_convolution_is_relu_then_convolution_then_normalisation() -> None:
    op = operation("nor_conv_3x3", 3, 4)
    assert isinstance(op, ReLUConvBN)
    x = torch.randn(5, 3, 6, 6)
    y = F.conv2d(x.clamp(min=0), op.conv.weight, padding=1)
    y = (y - y.mean((0, 2, 3), keepdim=True)) / torch.sqrt(
        y.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5
    )
    assert torch.allclose(op(x), y, atol=1e-5)


def test_factorised_reduction_sees_every_second_pixel_and_the_shifted_ones() -> None:
    reduce = FactorizedReduce(1, 2, Mode()).eval()
    with torch.no_grad():
        reduce.even.weight.fill_(1.0)
        reduce.odd.weight.fill_(1.0)
    x = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    out = reduce(x) * torch.sqrt(torch.tensor(1 + 1e-5))
    assert torch.allclose(out[0, 0], x[0, 0, ::2, ::2], atol=1e-3)
    shifted = torch.zeros(3, 3)
    shifted[:2, :2] = x[0, 0, 1::2, 1::2]
    assert torch.allclose(out[0, 1], shifted, atol=1e-3)


def test_pools_are_of_the_neighbours_that_exist() -> None:
    x = torch.randn(2, 3, 5, 6)
    for stride in (1, 2):
        for name, joined in (("max_pool_3x3", torch.amax), ("avg_pool_3x3", torch.mean)):
            out = operation(name, 3, 3, stride)(x)
            for i, j in np.ndindex(*out.shape[2:]):
                top, left = stride * i, stride * j
                around = x[:, :, max(0, top - 1) : top + 2, max(0, left - 1) : left + 2]
                torch.testing.assert_close(out[:, :, i, j], joined(around, dim=(2, 3)))


def test_factorised_reduction_rectifies_first() -> None:
    reduce, x = FactorizedReduce(3, 4, Mode()), torch.randn(2, 3, 6, 7)
    assert torch.equal(reduce(x), reduce(x.clamp(min=0)))
    assert not torch.equal(reduce(x), reduce(-x))


def test_weights_are_drawn_by_fan_out() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(8, 64, 3), nn.Linear(20, 9))
    initialise(network)
    assert float(network[0].weight.detach().var()) == pytest.approx(2 / (64 * 9), rel=0.1)
    assert not network[0].bias.any()
    assert not network[1].bias.any()


def test_modes_decide_about_bias_scale_and_statistics() -> None:
    alone = operation("nor_conv_1x1", 2, 2)
    shared = operation("nor_conv_1x1", 2, 2, 1, Mode(affine=False, track_running_stats=False))
    assert sum(p.numel() for p in alone.parameters()) == 4 + 4
    assert sum(p.numel() for p in shared.parameters()) == 4 + 2
    assert not list(shared.buffers())
    pool = operation("avg_pool_3x3", 2, 2, 1, Mode(pool_bn=True))
    assert isinstance(pool, Pool)
    assert not list(pool.parameters())
    assert list(pool.buffers())


def test_unknown_operation_suggests_the_near_miss() -> None:
    with pytest.raises(InputError, match="did you mean 'nor_conv_3x3'"):
        operation("nor_conv_3x4", 1, 1)
