"""The parts of Bayesian optimisation against closed forms, Monte Carlo and BoTorch."""

from __future__ import annotations

import logging
import math
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest

pytest.importorskip("gpytorch", reason="needs the extra bo")

import torch
from botorch.models import SingleTaskGP
from gpytorch.likelihoods import GaussianLikelihood
from mpmath import log, mp, mpf, ncdf, npdf
from scipy.stats import gamma, kstest, multivariate_normal, norm
from torch import Tensor

from transnas import spaces
from transnas.spaces import Architecture, Space
from transnas.strategies.bayesian._rewards import standardised
from transnas.strategies.bayesian.acquisitions import (
    expected_improvement,
    gp_ucb_weight,
    integrated,
    log_expected_improvement,
    log_improvement,
    probability_of_improvement,
    upper_confidence_bound,
)
from transnas.strategies.bayesian.encoding import _median_distance, encoding_of
from transnas.strategies.bayesian.kernels import build, stationary
from transnas.strategies.bayesian.model import Hyperparameters, Posterior, slice_samples
from transnas.strategies.bayesian.optimisers import climb, direct, exhaustive, multistart
from transnas.strategies.bayesian.worth import Worth, with_pending
from transnas.testing.functions import Hartmann6, MixedToy
from transnas.testing.strategies import Mixed


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Acquisitions -----------------------------------------------------------------------------------

CASES = [(0.0, 1.0, 0.5, 0.0), (1.0, 0.3, 0.0, 0.1), (-1.0, 2.0, 1.0, 0.0), (0.2, 0.05, 0.3, 0.02)]


@pytest.mark.parametrize(("mean", "deviation", "best", "xi"), CASES)
def test_ei_and_pi_are_their_expectations(
    mean: float, deviation: float, best: float, xi: float
) -> None:
    draws = mean + deviation * np.random.default_rng(0).standard_normal(1_000_000)
    gain, above = np.maximum(draws - best - xi, 0), draws > best + xi
    given = tensor(mean), tensor(deviation), tensor(best), xi
    bound = 4 / np.sqrt(len(draws))
    assert float(expected_improvement(*given)) == pytest.approx(gain.mean(), abs=bound * gain.std())
    assert float(probability_of_improvement(*given)) == pytest.approx(above.mean(), abs=bound)
    assert float(log_expected_improvement(*given).exp()) == pytest.approx(
        float(expected_improvement(*given)), rel=1e-10
    )
    assert float(upper_confidence_bound(*given)) == pytest.approx(mean + xi * deviation)


def test_the_weight_of_gp_ucb_is_that_of_its_bound() -> None:
    """kappa_t^2 = 2 log(t^(d/2 + 2) pi^2 / (3 delta)), as the formula stands."""
    for t, d, delta in ((1, 2, 0.1), (10, 6, 0.1), (50, 3, 0.01)):
        power = t ** (d / 2 + 2) * math.pi**2 / (3 * delta)
        assert gp_ucb_weight(t, d, delta) ** 2 == pytest.approx(2 * math.log(power))
    assert gp_ucb_weight(1, 2) < gp_ucb_weight(2, 2) < gp_ucb_weight(2, 3)


@pytest.mark.parametrize("z", [-1e8, -1e5, -9e3, -1e3, -40.0, -5.0, -1.0, -0.99, 0.0, 3.0, 30.0])
def test_log_improvement_is_exact_far_below_what_a_float_can_hold(z: float) -> None:
    mp.dps = 60
    x = mpf(z)
    # h(z) = phi(z) + z Phi(z); far out the asymptotic series of the Mills ratio.
    exact = log(npdf(x) + x * ncdf(x)) if z > -30 else log(npdf(x) / x**2) + log(
        1 - 3 / x**2 + 15 / x**4 - 105 / x**6 + 945 / x**8
    )  # fmt: skip
    assert float(log_improvement(tensor(z))) == pytest.approx(float(exact), rel=1e-9)


def test_log_improvement_has_the_right_slope() -> None:
    z = tensor([-50.0, -3.0, -1.5, -0.5, 2.0]).requires_grad_()
    assert torch.autograd.gradcheck(log_improvement, z)
    far = tensor([-1e7, -2e4]).requires_grad_()
    (slope,) = torch.autograd.grad(log_improvement(far).sum(), far)
    assert slope.tolist() == pytest.approx([1e7, 2e4], rel=1e-6)  # d log h / dz ~ -z


def test_ei_grows_with_the_deviation_and_has_its_limit_without_one() -> None:
    deviations = torch.linspace(0.01, 3, 50, dtype=torch.float64)
    values = expected_improvement(tensor(-0.5), deviations, tensor(0.0), 0.0)
    assert (values.diff() > 0).all()
    assert (values >= 0).all()
    known = expected_improvement(tensor([0.7, -0.7]), tensor([0.0, 0.0]), tensor(0.0), 0.0)
    assert known.tolist() == pytest.approx([0.7, 0.0], abs=1e-9)


def test_what_is_averaged_is_the_acquisition() -> None:
    values = torch.rand(5, 7, dtype=torch.float64, generator=generator()) * 4
    assert torch.allclose(integrated(values.log(), "log-ei").exp(), values.mean(0))
    assert torch.allclose(integrated(values, "ei"), values.mean(0))


# Kernels ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "closed"),
    [
        ("se", lambda r: np.exp(-(r**2) / 2)),
        ("ard", lambda r: np.exp(-(r**2) / 2)),
        ("matern32", lambda r: (1 + np.sqrt(3) * r) * np.exp(-np.sqrt(3) * r)),
        ("matern52", lambda r: (1 + np.sqrt(5) * r + 5 * r**2 / 3) * np.exp(-np.sqrt(5) * r)),
    ],
)
def test_kernels_of_numbers_have_their_closed_forms(name: str, closed: object) -> None:
    scales = tensor([[0.4]] if name == "se" else [[0.4, 1.1, 0.2]])
    kernel = stationary(name, 3).double()
    kernel.lengthscale = scales
    x = torch.rand(6, 3, dtype=torch.float64, generator=generator())
    r = (((x[:, None] - x[None]) / scales) ** 2).sum(-1).sqrt().numpy()
    np.testing.assert_allclose(kernel.forward(x, x).detach(), closed(r), atol=1e-9)  # type: ignore[operator]


def test_the_hamming_kernel_counts_differing_choices() -> None:
    encoding = encoding_of(MixedToy(), False)
    kernel = build(encoding, "matern52", "hamming").base_kernel.choices.double()
    kernel.lengthscale = tensor([[0.5, 1.0, 2.0]])
    archs = [MixedToy().sample(np.random.default_rng(i)) for i in range(8)]
    rows = encoding.rows(archs)
    found = kernel.forward(rows, rows).detach()
    for i, a in enumerate(archs):
        for j, b in enumerate(archs):
            apart = [u != v for u, v in zip(a.values, b.values, strict=True)]
            exact = math.exp(-(apart[0] / 0.5 + apart[1] / 1.0 + apart[2] / 2.0))
            assert float(found[i, j]) == pytest.approx(exact)


SPACES = [spaces.get("nasbench201"), spaces.get("enas-macro"), MixedToy(), Hartmann6(), Mixed()]


@pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)
@pytest.mark.parametrize("choices", ["hamming", "architecture"])
def test_kernels_are_covariances_of_the_stated_amplitude(space: Space, choices: str) -> None:
    encoding = encoding_of(space, choices == "architecture")
    kernel = build(encoding, "matern32", choices).double()
    kernel.outputscale = 1.7
    rng = np.random.default_rng(0)
    x = encoding.rows([space.sample(rng) for _ in range(25)])
    with torch.no_grad():
        covariance = kernel.forward(x, x)
        assert torch.allclose(covariance, covariance.T, atol=1e-10)
        assert torch.linalg.eigvalsh(covariance).min() > -1e-8
        assert torch.allclose(covariance.diagonal(), tensor(1.7).expand(25))
        assert torch.allclose(kernel.forward(x, x, diag=True), covariance.diagonal())


def test_the_median_distance_is_that_of_all_pairs_without_a_table_of_their_differences() -> None:
    rows = np.random.default_rng(0).integers(0, 5, size=(200, 3000)) / 2.0
    pairs = [math.dist(rows[i], rows[j]) for i in range(200) for j in range(i)]
    tracemalloc.start()
    found = _median_distance(rows)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == pytest.approx(float(np.median(pairs)), rel=1e-3)
    assert peak < 4 * rows.nbytes
    assert _median_distance(np.ones((3, 2))) == 1.0


def test_a_path_of_one_architecture_alone_is_no_feature() -> None:
    # A chain is one path, so that each of its 6,561 architectures has a path of its own.
    space = spaces.get("nasbench-macro")
    encoding = encoding_of(space, True)
    every = list(space.architectures())
    labels = {label for arch in every for path in space.paths(arch) for label in path}
    pairs = {pair for arch in every for path in space.paths(arch) for pair in pairwise(path)}
    block = encoding.blocks["paths"]
    assert block.stop - block.start == len(labels) + len(pairs)
    assert ((encoding.rows(every)[:, block] > 0).sum(dim=0) > 1).all()


# Model ------------------------------------------------------------------------------------------


def fitted(n: int = 12, seed: int = 0) -> tuple[Hyperparameters, Tensor, Tensor]:
    x = torch.rand(n, 2, dtype=torch.float64, generator=generator(seed))
    y = torch.sin(5 * x[:, 0]) + x[:, 1]
    y = (y - y.mean()) / y.std()

    class Square(Hartmann6):
        name = "square"
        ranges = Hartmann6.ranges[:2]

    model = Hyperparameters(build(encoding_of(Square(), False), "matern52", "hamming"), x, y)
    return model, x, y


def test_the_posterior_is_the_exact_formula() -> None:
    model, x, y = fitted(3)
    posterior = model.posterior(model.default)
    new = torch.rand(5, 2, dtype=torch.float64, generator=generator(1))
    with torch.no_grad():
        k = model.kernel.forward
        inverse = torch.linalg.inv(k(x, x) + posterior.noise * torch.eye(3, dtype=torch.float64))
        m = posterior.constant
        mean = m + k(new, x) @ inverse @ (y - m)
        variance = k(new, new).diagonal() - (k(new, x) @ inverse * k(new, x)).sum(1)
    found, deviation = posterior.predict(new)
    assert torch.allclose(found[0], mean, atol=1e-10)
    assert torch.allclose(deviation**2, variance, atol=1e-10)


def test_the_posterior_is_botorchs() -> None:
    model, x, y = fitted()
    posterior = model.posterior(model.default)
    likelihood = GaussianLikelihood().double()
    likelihood.noise = posterior.noise
    theirs = SingleTaskGP(x, y[:, None], likelihood=likelihood, covar_module=model.kernel,
                          outcome_transform=None)  # fmt: skip
    theirs.mean_module.constant = posterior.constant
    theirs.eval()
    new = torch.rand(20, 2, dtype=torch.float64, generator=generator(1))
    with torch.no_grad():
        exact = theirs.posterior(new)
    mean, deviation = posterior.predict(new)
    assert torch.allclose(mean[0], exact.mean[:, 0], atol=1e-6)
    assert torch.allclose(deviation**2, exact.variance[:, 0], atol=1e-6)


def test_the_log_posterior_is_likelihood_times_prior_in_its_own_scale() -> None:
    model, x, y = fitted()
    rng = np.random.default_rng(1)
    centre = {"outputscale": (0.0, 1.0), "lengthscale": (math.log(0.5 * math.sqrt(2)), 1.0),
              "noise": (-3.0, 1.5), "mean": (0.0, 1.0)}  # fmt: skip
    names = [n for n, p in model.named_parameters() for _ in range(p.numel())]
    apart = []
    for _ in range(4):
        vector = model.default + 0.5 * rng.standard_normal(len(model.default))
        value = model.log_posterior(vector)[0]
        with torch.no_grad():
            covariance = model.kernel.forward(x, x).numpy()
            covariance += float(model.likelihood.noise) * np.eye(len(x))
            offset = np.full(len(x), float(model.mean))
        exact = multivariate_normal(offset, covariance).logpdf(y.numpy())
        for name, at in zip(names, vector, strict=True):
            # A log-normal density times the exponential's Jacobian is a normal one.
            middle, spread = next(c for key, c in centre.items() if name.endswith(key))
            exact += norm(middle, spread).logpdf(at)
        apart.append(value - exact)
    assert np.ptp(apart) < 1e-3
    assert apart[0] == pytest.approx(0.5 * math.log(2 * math.pi), abs=1e-3)  # of the mean's prior


def test_the_gradient_of_the_log_posterior_is_its_slope() -> None:
    model, _, _ = fitted()
    rng = np.random.default_rng(0)
    vector = model.default + 0.3 * rng.standard_normal(len(model.default))
    _, gradient = model.log_posterior(vector)
    for i, step in enumerate(1e-5 * np.eye(len(vector))):
        up, down = model.log_posterior(vector + step)[0], model.log_posterior(vector - step)[0]
        assert (up - down) / 2e-5 == pytest.approx(gradient[i], rel=1e-4, abs=1e-5)


def test_fitting_finds_what_no_single_coordinate_improves() -> None:
    model, _, _ = fitted()
    best = model.maximise([model.default, model.default + 1.0])
    value = model.log_posterior(best)[0]
    assert value > model.log_posterior(model.default)[0]
    for step in 0.3 * np.eye(len(best)):
        assert model.log_posterior(best + step)[0] <= value + 1e-3
        assert model.log_posterior(best - step)[0] <= value + 1e-3


def test_without_noise_observations_are_interpolated() -> None:
    model, x, y = fitted()
    exact = Posterior.of(model.kernel, x, y, 0.0, 1e-9)
    mean, deviation = exact.predict(x)
    assert torch.allclose(mean[0], y, atol=1e-5)
    assert deviation.max() < 1e-3


def test_slice_samples_have_the_moments_of_a_gaussian() -> None:
    covariance = np.array([[1.0, 0.6], [0.6, 2.0]])
    inverse = np.linalg.inv(covariance)
    found = slice_samples(
        lambda v: float(-0.5 * v @ inverse @ v), np.zeros(2), 4000, np.random.default_rng(0)
    )
    assert np.mean(found, axis=0) == pytest.approx([0.0, 0.0], abs=0.15)
    assert np.cov(np.array(found).T) == pytest.approx(covariance, abs=0.25)


def test_slice_samples_of_one_number_have_its_law() -> None:
    def log_density(v: np.ndarray) -> float:  # a gamma density of shape 3
        return float(2 * math.log(v[0]) - v[0]) if v[0] > 0 else -math.inf

    found = slice_samples(log_density, np.ones(1), 3000, np.random.default_rng(0), thin=5)
    assert kstest(np.concatenate(found), gamma(3).cdf).pvalue > 1e-3


def test_a_covariance_that_is_not_positive_definite_is_given_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x = torch.rand(4, 1, dtype=torch.float64, generator=generator())

    class Indefinite(torch.nn.Module):
        def forward(self, a: Tensor, b: Tensor, diag: bool = False) -> Tensor:
            if diag:
                return torch.ones(len(a), dtype=a.dtype)
            return torch.where((a == b.T), 1.0, -0.4).to(a.dtype)  # an eigenvalue is -0.2

    with caplog.at_level(logging.WARNING):
        posterior = Posterior.of(Indefinite(), x, x[:, 0], 0.0, 1e-6)
    assert "not positive definite" in caplog.text
    assert torch.isfinite(posterior.predict(x)[0]).all()


# Pending results --------------------------------------------------------------------------------


def test_the_extended_factor_is_the_factor_of_all() -> None:
    model, x, y = fitted()
    posterior = model.posterior(model.default)
    new = torch.rand(4, 2, dtype=torch.float64, generator=generator(3))
    values = torch.randn(4, 3, dtype=torch.float64, generator=generator(4))
    extended = posterior.given(new, values)
    probe = torch.rand(9, 2, dtype=torch.float64, generator=generator(5))
    mean, deviation = extended.predict(probe)
    for j in range(3):
        whole = Posterior.of(model.kernel, torch.cat([x, new]), torch.cat([y, values[:, j]]),
                             posterior.constant, posterior.noise)  # fmt: skip
        one, same = whole.predict(probe)
        assert torch.allclose(mean[j], one[0], atol=1e-8)
        assert torch.allclose(deviation, same, atol=1e-8)


def test_fantasies_are_noisy_draws_of_the_posterior() -> None:
    model, x, y = fitted()
    posterior = Posterior.of(model.kernel, x, y, 0.3, 0.05)
    near = tensor([[0.31, 0.3], [0.32, 0.3], [0.9, 0.9]])
    draws = posterior.sample(near, 40_000, generator())
    with torch.no_grad():
        k = model.kernel.forward
        inverse = torch.linalg.inv(k(x, x) + 0.05 * torch.eye(len(x), dtype=torch.float64))
        covariance = k(near, near) - k(near, x) @ inverse @ k(x, near)
    exact = covariance + 0.05 * torch.eye(3, dtype=torch.float64)
    assert torch.allclose(torch.cov(draws), exact, atol=0.02 * float(exact.max()))


def test_fantasies_keep_the_mean_and_vary_together() -> None:
    model, _, _ = fitted()
    posterior = model.posterior(model.default)
    near = tensor([[0.31, 0.3], [0.32, 0.3], [0.9, 0.9]])
    draws = posterior.sample(near, 20_000, generator())
    before = posterior.predict(near)[0][0]
    # Tower property: averaged over what may turn out, the posterior mean is the one before.
    after = posterior.given(near, draws).predict(near)[0].mean(0)
    assert torch.allclose(after, before, atol=0.03)
    assert torch.allclose(draws.mean(1), before, atol=0.03)
    together = torch.corrcoef(draws)
    assert together[0, 1] > abs(together[0, 2]) + 0.2


def test_pending_points_are_not_proposed_again() -> None:
    """Brute force on a grid: each proposal is the argmax given the fantasies of those before."""
    model, _, _ = fitted()
    posterior = Posterior.of(model.kernel, model.x, model.y, 0.0, 1e-4)
    axis = torch.linspace(0, 1, 25, dtype=torch.float64)
    grid = torch.cartesian_prod(axis, axis)
    alone = Worth([posterior], "ei", 0.0)(grid)
    pending = grid[alone.argmax()][None]
    for _ in range(3):
        worth = Worth(with_pending([posterior], pending, 64, generator()), "ei", 0.0)
        assert worth(pending).max() < 0.2 * alone.max()
        following = grid[worth(grid).argmax()]
        assert (following - pending).norm(dim=1).min() > 0
        pending = torch.cat([pending, following[None]])


def test_one_lucky_result_is_no_incumbent() -> None:
    x = torch.linspace(0, 1, 30, dtype=torch.float64)[:, None]
    y = 0.1 * torch.randn(30, dtype=torch.float64, generator=generator())
    y[11] += 10 * 0.1
    kernel = stationary("se", 1).double()
    kernel.lengthscale = 0.5
    posterior = Posterior.of(kernel, x, y, 0.0, 0.01)
    assert float(posterior.incumbents()) < 0.5 < float(y.max())


def test_per_second_the_cheap_one_of_two_equals_is_worth_more() -> None:
    x = tensor([[0.1], [0.9]])
    kernel = stationary("se", 1).double()
    kernel.lengthscale = 0.2
    value = Posterior.of(kernel, x, tensor([0.0, 0.0]), 0.0, 0.1)
    cost = Posterior.of(kernel, x, tensor([2.0, -2.0]), 0.0, 0.01)
    for name in ("ei", "log-ei"):
        plain = Worth([value], name, 0.0)(x)
        assert float(plain[0]) == pytest.approx(float(plain[1]))
        assert torch.diff(Worth([value], name, 0.0, cost)(x)) > 0


# Maximising -------------------------------------------------------------------------------------


@pytest.mark.parametrize("acquisition", ["ei", "log-ei", "ucb", "pi"])
def test_direct_and_multistart_agree_on_the_maximum(acquisition: str) -> None:
    model, _, _ = fitted()
    posterior = model.posterior(model.maximise([model.default]))
    worth = Worth([posterior], acquisition, 0.1)
    rectangles, gradients = direct(worth, 2), multistart(worth, 2, seed=0)
    with torch.no_grad():
        first, second = (
            float(worth(torch.from_numpy(u)[None])[0]) for u in (rectangles, gradients)
        )
        axis = torch.linspace(0, 1, 101, dtype=torch.float64)
        brute = float(worth(torch.cartesian_prod(axis, axis)).max())
    assert first == pytest.approx(second, abs=1e-3)
    assert min(first, second) >= brute - 1e-3


def test_climbs_meet_the_best_neighbour_and_propose_only_what_is_allowed() -> None:
    space = spaces.get("nasbench201")
    start = space.architecture((0, 0, 0, 0, 0, 0))

    def score(archs: Sequence[Architecture]) -> list[float]:
        return [float(sum(a.values)) for a in archs]

    def climbed(allowed: Callable[[Architecture], bool], steps: int) -> Architecture | None:
        return climb(space, score, lambda arch: arch, [start], allowed, steps)

    top = space.architecture((4,) * 6)
    assert climbed(lambda arch: True, 6) == top
    below = climbed(lambda arch: arch != top, 10)
    assert below is not None
    assert sum(below.values) == 23
    two = climbed(lambda arch: True, 2)
    assert two is not None
    assert sum(two.values) == 8
    assert climbed(lambda arch: False, 10) is None


def test_climbs_move_numbers_between_their_steps() -> None:
    space = Mixed()
    start = space.architecture((0,), (0.1, 0.0))

    def score(archs: Sequence[Architecture]) -> list[float]:
        return [a.values[0] + a.numbers[1] for a in archs]

    def improve(arch: Architecture) -> Architecture:
        return space.architecture(arch.values, (0.1, min(1.0, arch.numbers[1] + 0.25)))

    found = climb(space, score, improve, [start], lambda arch: True, steps=3)
    assert found is not None
    assert score([found]) == [2.75]


def test_exhaustive_search_is_the_free_argmax() -> None:
    values = tensor([0.3, 2.0, math.nan, 1.0, 2.0])
    rows = torch.arange(5.0, dtype=torch.float64)[:, None]

    def surface(x: Tensor) -> Tensor:
        return values[x[:, 0].long()]

    assert exhaustive(surface, rows, np.ones(5, dtype=bool)) == 1
    assert exhaustive(surface, rows, np.array([True, False, True, True, False])) == 3
    assert exhaustive(surface, rows, np.zeros(5, dtype=bool)) is None


def test_rewards_are_standardised_without_a_bound_from_failures_to_learn() -> None:
    rewards = np.array([0.91, 0.1, 0.9, 0.92, 0.93, 0.905])
    scaled = standardised(rewards)
    assert scaled.mean() == pytest.approx(0)
    assert scaled.std() == pytest.approx(1)
    lower = rewards.copy()
    lower[1] = -1e9
    np.testing.assert_allclose(standardised(lower), scaled)
    assert standardised(np.full(5, 0.3)).tolist() == [0.0] * 5
