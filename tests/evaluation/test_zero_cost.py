"""Zero-cost proxies against hand calculation, finite differences and published scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import TensorDataset

from transnas import InputError, spaces, tasks
from transnas.evaluation import Evaluator, ZeroCost
from transnas.evaluation.zero_cost import (
    PROXIES,
    Proxy,
    _batch,
    grad_norm,
    jacov,
    nwot,
    snip,
    synflow,
)
from transnas.spaces import Space
from transnas.tasks import DataTask
from transnas.tasks._tensors import TensorSplit
from transnas.testing.evaluators import EvaluatorContract

torch.set_num_threads(1)
SPACE = spaces.get("nasbench201")
DIGITS = tasks.get("digits")
SMALL = {"channels": 4, "cells": 1}
LABELS = torch.tensor([0, 1, 1])


class TestZeroCost(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return ZeroCost(DIGITS, SPACE, tuple(PROXIES), batch_size=8, skeleton=SMALL)

    @pytest.fixture
    def space(self) -> Space:
        return SPACE


def two_layers() -> nn.Sequential:
    """Return a net that is smooth on its data, in double precision."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2)).double()


def images(seed: int = 0, n: int = 3, d: int = 4) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator, dtype=torch.float64)


def slopes(network: nn.Sequential, x: Tensor) -> list[Tensor]:
    """Return dL/dW of each weight matrix by central differences."""
    found = []
    for layer in (network[0], network[2]):
        slope = torch.zeros_like(layer.weight)
        for i in np.ndindex(*slope.shape):
            with torch.no_grad():
                layer.weight[i] += 1e-6
                up = F.cross_entropy(network(x), LABELS)
                layer.weight[i] -= 2e-6
                down = F.cross_entropy(network(x), LABELS)
                layer.weight[i] += 1e-6
            slope[i] = (up - down) / 2e-6
        found.append(slope)
    return found


def test_synflow_of_a_linear_chain_by_hand() -> None:
    # R = 1' |B| |A| 1 is linear in each matrix, so each adds R once.
    chain = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        chain[0].weight.copy_(torch.tensor([[1.0, -2.0], [3.0, 0.0]]))
        chain[1].weight.copy_(torch.tensor([[-4.0, 5.0]]))
    flow = 4 * (1 + 2) + 5 * (3 + 0)
    assert synflow(chain, torch.zeros(3, 2), LABELS) == pytest.approx(2 * flow)


def test_synflow_leaves_normalisation_out() -> None:
    plain = nn.Sequential(nn.Conv2d(1, 2, 3, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 3, bias=False))
    normed = nn.Sequential(plain[0], nn.BatchNorm2d(2), *plain[1:])
    batch = torch.randn(2, 1, 6, 6)
    with_norm = synflow(normed, batch, LABELS)
    assert with_norm == pytest.approx(synflow(plain, batch, LABELS), rel=1e-4)


def test_synflow_sums_what_is_positive_and_what_is_negative() -> None:
    # A negative last layer after a bound: the flow's gradients differ in sign from their sums.
    class Bounded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(1, 2, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            one, two = self.layer(x).unbind(1)
            return one - two

    network = Bounded()
    with torch.no_grad():
        network.layer.weight.copy_(torch.tensor([[-3.0], [2.0]]))
    assert synflow(network, torch.zeros(3, 1), LABELS) == pytest.approx(3 + 2)


@pytest.mark.parametrize("proxy", [snip, grad_norm, nwot, jacov])
def test_a_proxy_normalises_by_the_batch_alone(proxy: Proxy) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)
    ).double()
    fresh = proxy(deepcopy(network), images(), LABELS)
    assert math.isfinite(fresh)
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm1d)
    assert norm.running_mean is not None
    norm.running_mean.fill_(7.0)
    assert proxy(network.eval(), images(), LABELS) == fresh


def test_snip_and_grad_norm_are_those_of_finite_differences() -> None:
    network, x = two_layers(), images()
    numeric = slopes(network, x)
    weights = [network[0].weight.detach(), network[2].weight.detach()]
    removed = sum(float((w * s).abs().sum()) for w, s in zip(weights, numeric, strict=True))
    assert snip(network, x, LABELS) == pytest.approx(removed, rel=1e-6)
    assert grad_norm(network, x, LABELS) == pytest.approx(
        sum(float(s.norm()) for s in numeric), rel=1e-6
    )


def test_nwot_of_hand_made_codes() -> None:
    # The ReLU's input is the data: codes 1100, 1010 and 0011 agree in 2, 0 and 2 of 4 bits.
    x = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [-1, -1, 1, 1]])
    kernel = np.array([[4, 2, 0], [2, 4, 2], [0, 2, 4]])
    assert nwot(nn.ReLU(), x, LABELS) == pytest.approx(math.log(np.linalg.det(kernel)))
    # Two ReLUs in a row double every count; functions and ReLU6 are seen as modules are.
    for twice in (nn.Sequential(nn.ReLU(inplace=True), nn.ReLU6()), nn.Sequential(Functional())):
        assert nwot(twice, x.clone(), LABELS) == pytest.approx(math.log(np.linalg.det(2 * kernel)))


class Functional(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return F.relu(F.relu(x))


def test_nwot_of_two_equal_images_is_minus_infinity() -> None:
    assert nwot(nn.ReLU(), torch.ones(2, 4), LABELS[:2]) == -math.inf


def test_jacov_of_a_linear_network_and_of_independent_gradients() -> None:
    # One gradient for all images: correlations are all one, eigenvalues 3, 0, 0.
    k = 1e-5
    same = -(math.log(3 + k) + 1 / (3 + k) + 2 * (math.log(k) + 1 / k))
    assert jacov(nn.Linear(4, 2).double(), images(), LABELS) == pytest.approx(same, rel=1e-6)

    # f(x) = sum x^2 / 2 has gradient x; rows with zero correlation have eigenvalues 1.
    x = torch.tensor([[1.0, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]], dtype=torch.float64)
    best = -3 * (math.log(1 + k) + 1 / (1 + k))
    assert jacov(HalfSquare(), x, LABELS) == pytest.approx(best)


class HalfSquare(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x**2 / 2


def test_one_proxy_does_not_change_another() -> None:
    cell = SPACE.architecture((3, 1, 2, 3, 0, 4))
    together = ZeroCost(DIGITS, SPACE, tuple(PROXIES), 8, SMALL).evaluate(cell, seed=1).metrics
    for name in PROXIES:
        alone = ZeroCost(DIGITS, SPACE, (name,), 8, SMALL).evaluate(cell, seed=1).metrics
        assert alone == {name: together[name]}


def test_the_seed_draws_weights_and_images() -> None:
    proxies = ZeroCost(DIGITS, SPACE, ("snip", "nwot"), 8, SMALL)
    cell = SPACE.architecture((3,) * 6)
    assert proxies.evaluate(cell, seed=0).metrics != proxies.evaluate(cell, seed=1).metrics
    before = torch.random.get_rng_state()
    proxies.evaluate(cell)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_batch_is_drawn_from_the_training_images() -> None:
    # Labels are numbers of images, which each image holds.
    count = 50
    data = torch.arange(count)[:, None, None, None].float(), torch.arange(count)
    pairs = TensorDataset(*data)
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    for split in (pairs, TensorSplit(*data, 1.0, zero, one)):
        drawn = []
        for seed in (0, 1):
            batch, labels = _batch(split, DIGITS.signature, 8, torch.Generator().manual_seed(seed))
            assert batch.shape == (8, 1, 1, 1)
            assert torch.equal(batch.flatten(), labels.float())
            drawn.append(set(labels.tolist()))
        assert len(drawn[0]) == len(drawn[1]) == 8
        assert drawn[0] != drawn[1]

    # No two codes differ in training; validation images, which do differ, are not looked at.
    constant = TensorDataset(torch.ones(20, 1, 8, 8), torch.arange(20) % 10)
    task = DataTask("t", DIGITS.signature, train=constant, validation=DIGITS.validation)
    found = ZeroCost(task, SPACE, ("nwot",), 8, SMALL).evaluate(SPACE.architecture((3,) * 6))
    assert found.error == "nwot: not finite"


def test_the_seed_draws_weights() -> None:
    # Synflow does not depend on the images.
    proxies = ZeroCost(DIGITS, SPACE, ("synflow",), 8, SMALL)
    cell = SPACE.architecture((3,) * 6)
    scores = [proxies.evaluate(cell, seed=seed).metrics["synflow"] for seed in (0, 1, 1)]
    assert scores[0] != scores[1] == scores[2]


def test_what_is_not_finite_fails_with_its_name() -> None:
    # All images equal: no two codes differ.
    constant = TensorDataset(torch.ones(20, 1, 8, 8), torch.arange(20) % 10)
    task = DataTask("constant", DIGITS.signature, train=constant, validation=constant)
    evaluator = ZeroCost(task, SPACE, ("synflow", "nwot"), 8, SMALL)
    found = evaluator.evaluate(SPACE.architecture((3,) * 6))
    assert (found.status, found.error) == ("failed", "nwot: not finite")
    assert found.metrics["synflow"] > 0


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="proxy 'magic' is unknown"):
        ZeroCost(DIGITS, SPACE, ("magic",))
    for empty in ((), "nwot"):
        with pytest.raises(InputError, match="accepted: a list of names"):
            ZeroCost(DIGITS, SPACE, empty)
    with pytest.raises(InputError, match="batch_size 1 is"):
        ZeroCost(DIGITS, SPACE, batch_size=1)


def test_scores_rank_cells_as_published_scores_do(data_file: Callable[[str], Path]) -> None:
    with np.load(data_file("nas/nasbench201_zcp.npz")) as file:
        rows = np.random.default_rng(0).choice(len(file["arch_index"]), 40, replace=False)
        index = file["arch_index"][rows].tolist()
        column = file["proxies"].tolist().index
        published = {p: file["c10"][rows, column(p)] for p in ("synflow", "nwot")}
    with np.load(data_file("nas/nasbench201.npz")) as file:
        cells = [SPACE.architecture(file["ops"][i].tolist()) for i in index]
    task = tasks.get("nasbench201/cifar10")  # a table: the images are noise
    scorer = ZeroCost(task, SPACE, tuple(published), 16, {"channels": 8, "cells": 1})
    found = [scorer.evaluate(cell).metrics for cell in cells]
    for proxy, scores in published.items():
        assert spearmanr(scores, [f[proxy] for f in found]).statistic > 0.8, proxy
