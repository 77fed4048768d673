"""MMD against closed forms and double loops."""

from __future__ import annotations

import math

import pytest
import torch

from transnas.meta.interleaved.mmd import (
    FACTORS,
    Kernel,
    block_mmd2,
    gram,
    half_mmd2,
    median_kernel,
    mmd2,
    squared_distances,
)

UNIT = Kernel(1.0)


def double(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_identical_samples_have_none_and_points_have_the_closed_form() -> None:
    x = double(6, 3)
    assert float(mmd2(x, x, UNIT, biased=True)) == pytest.approx(0.0, abs=1e-14)
    values = UNIT(squared_distances(x, x))
    mean = (values.sum() - values.trace()) / 30
    assert float(mmd2(x, x, UNIT)) == pytest.approx(float(-2 / 6 * (1 - mean)), abs=1e-13)
    a, b = double(1, 3, seed=1), double(1, 3, seed=2)
    kappa = math.exp(-float(((a - b) ** 2).sum()) / 2)
    found = mmd2(a.expand(5, -1), b.expand(4, -1), UNIT)
    assert float(found) == pytest.approx(2 * (1 - kappa), abs=1e-13)


def test_gaussians_have_the_closed_form() -> None:
    d, s, mu, sigma = 3, 1.0, 1.2, 1.5
    closed = 2 * (sigma**2 / (sigma**2 + 2 * s**2)) ** (d / 2)
    closed *= 1 - math.exp(-(mu**2) / (2 * (sigma**2 + 2 * s**2)))
    assert closed == pytest.approx(0.12006, abs=1e-5)
    x, y = double(3000, d), double(3000, d, seed=1)
    y[:, 0] += mu
    found = float(mmd2(x, y, Kernel(sigma**2)))
    assert found == pytest.approx(closed, abs=0.012)


@pytest.mark.parametrize("r", [4, 8, 16])
def test_the_estimate_is_unbiased_and_the_biased_one_is_not(r: int) -> None:
    draws = double(4000, 2, r, 8, seed=r)
    found = torch.vmap(lambda pair: mmd2(pair[0], pair[1], Kernel(8.0)))(draws)
    error = float(found.std()) / math.sqrt(len(found))
    assert abs(float(found.mean())) < 3 * error
    assert 0.4 < float((found < 0).double().mean()) < 0.7
    biased = torch.vmap(lambda pair: mmd2(pair[0], pair[1], Kernel(8.0), biased=True))(draws)
    assert float(biased.mean()) > 20 * error


def test_separates_two_distributions() -> None:
    """Power at level 5%: r = 8 points of 8 dimensions, means 2 apart."""
    null, far = double(400, 2, 8, 8), double(400, 2, 8, 8, seed=1)
    far[:, 1] += 2.0 / math.sqrt(8)
    kernel = Kernel(16.0, FACTORS)
    values = [torch.vmap(lambda p: mmd2(p[0], p[1], kernel))(sample) for sample in (null, far)]
    bound = torch.quantile(values[0], 0.95)
    assert float((values[1] > bound).double().mean()) > 0.8


def test_one_gram_matrix_equals_the_double_loop() -> None:
    sets, r = 5, 6
    z = double(sets * r, 4)
    kernel = median_kernel(squared_distances(z, z))
    found = block_mmd2(gram(z), sets)
    parts = z.view(sets, r, 4)
    for i in range(sets):
        for j in range(sets):
            expected = 0.0 if i == j else float(mmd2(parts[i], parts[j], kernel))
            assert float(found[i, j]) == pytest.approx(expected, abs=1e-13)
    halves = half_mmd2(gram(z), sets)
    for i in range(sets):
        expected = float(mmd2(parts[i, :3], parts[i, 3:], kernel))
        assert float(halves[i]) == pytest.approx(expected, abs=1e-13)
    shuffled = parts[:, torch.randperm(r)].reshape(sets * r, 4)
    torch.testing.assert_close(block_mmd2(gram(shuffled), sets), found)


def test_mixture_is_the_mean_of_its_kernels_around_the_median() -> None:
    z = double(9, 2)
    distances = squared_distances(z, z)
    above = [float(distances[i, j]) for i in range(9) for j in range(i + 1, 9)]
    kernel = median_kernel(distances)
    assert float(kernel.variance) in [pytest.approx(v) for v in above]
    smaller = sum(v < float(kernel.variance) for v in above)
    assert smaller in (len(above) // 2, len(above) // 2 - 1)
    single = [Kernel(kernel.variance * s)(distances) for s in FACTORS]
    torch.testing.assert_close(kernel(distances), torch.stack(single).mean(0))
    torch.testing.assert_close(gram(z), gram(7.0 * z))  # scale drops out
    same = median_kernel(torch.zeros(4, 4))
    assert float(same.variance) == 1.0


def test_gradients() -> None:
    z = double(6, 2).requires_grad_()
    kernel = Kernel(1.3, FACTORS)

    def total(z: torch.Tensor) -> torch.Tensor:
        return block_mmd2(kernel(squared_distances(z, z)), 2)

    assert torch.autograd.gradcheck(total, (z,))
    assert torch.autograd.gradgradcheck(total, (z,))
