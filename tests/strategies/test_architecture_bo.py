"""Bayesian optimisation of listable spaces: its posterior, its evidence, and its searches."""

from __future__ import annotations

import json

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture
from transnas.strategies import create, replicate
from transnas.strategies._replicates import one_replicate
from transnas.strategies.bayesian._candidates import listed
from transnas.strategies.bayesian._ensemble import Incremental
from transnas.testing.strategies import Mixed

SCORE = (Objective("score"),)
SPACE = spaces.get("transnas101-micro")


def quality(arch: Architecture) -> float:
    return float(sum(v == 3 for v in arch.values) - sum(v == 0 for v in arch.values))


def test_posterior_and_evidence_are_the_dense_closed_forms() -> None:
    candidates, noise = listed(SPACE), 0.3
    observed = [5, 99, 700, 5, 820]
    rewards = np.random.default_rng(0).standard_normal(5) * 3
    model = Incremental(len(candidates), noise)
    for i in observed:
        model.observe(i, candidates.column(i))
    kernel = np.stack([candidates.column(i) for i in observed]).astype(np.float64)
    inverse = np.linalg.inv(kernel[:, observed] + noise * np.eye(5))
    ones = np.ones(5)
    precision = ones @ inverse @ ones
    offset = ones @ inverse @ rewards / precision
    squares = (rewards - offset) @ inverse @ (rewards - offset)
    evidence = model.weigh(rewards)
    assert evidence.scale == pytest.approx(np.sqrt(squares / 4), rel=1e-5)
    log = 0.5 * np.linalg.slogdet(inverse)[1] - 0.5 * np.log(precision) - 2 * np.log(squares / 4)
    assert evidence.log == pytest.approx(log, rel=1e-4)
    mean, deviation = model.predict(evidence.white)
    exact = kernel.T @ inverse @ (rewards - offset) / evidence.scale
    np.testing.assert_allclose(mean, exact, atol=2e-5)
    slack = 1 - kernel.T @ inverse @ ones
    variance = 1 - np.einsum("ij,ik,kj->j", kernel, inverse, kernel) + slack**2 / precision
    np.testing.assert_allclose(deviation**2, variance, atol=2e-5)


@pytest.mark.parametrize("hyperparameters", ["fixed", "map", "marginal"])
def test_replicates_equal_the_sequential_strategy(hyperparameters: str) -> None:
    rewards = np.array([quality(a) for a in SPACE.architectures()])
    rewards[::17] = np.nan
    given = {"hyperparameters": hyperparameters}
    together = replicate("architecture-bo", SPACE, rewards, [0, 7], 15, **given)
    for seed, row in zip([0, 7], together, strict=True):
        alone = one_replicate("architecture-bo", SPACE, rewards, seed, 15, **given)
        assert row.tolist() == alone


def test_its_evidence_prefers_the_noise_that_is_there() -> None:
    candidates, rng = listed(SPACE), np.random.default_rng(0)
    observed = rng.choice(len(candidates), 120, replace=False).tolist()
    covariance = candidates.between(np.array(observed), np.array(observed)).astype(np.float64)
    for true, other in ((0.1, 2.0), (2.0, 0.1)):
        factor = np.linalg.cholesky(covariance + true * np.eye(120))
        rewards = factor @ rng.standard_normal(120)
        logs = []
        for noise in (true, other):
            model = Incremental(len(candidates), noise)
            for i in observed:
                model.observe(i, candidates.column(i))
            logs.append(model.weigh(rewards).log)
        assert logs[0] > logs[1]


@pytest.mark.parametrize("seed", range(4))
def test_a_smaller_share_of_the_deviation_stays_nearer_to_what_is_good(seed: int) -> None:
    candidates, rng = listed(SPACE), np.random.default_rng(seed)
    observed = rng.choice(len(candidates), 30, replace=False).tolist()
    rewards = np.array([quality(candidates.archs[i]) for i in observed])
    model = Incremental(len(candidates), 1.0)
    for i in observed:
        model.observe(i, candidates.column(i))
    mean, deviation = model.predict(model.weigh(rewards).white)
    asked = []
    for share in (0.05, 20.0):
        given = {"hyperparameters": "fixed", "deviation": share}
        strategy = create("architecture-bo", SPACE, seed, SCORE, **given)
        for i, reward in zip(observed, rewards, strict=True):
            strategy.tell(candidates.archs[i], Measurement({"score": float(reward)}))
        asked.append(candidates.position[strategy.ask()])
    near, far = asked
    assert mean[near] > mean[far]
    assert deviation[near] < deviation[far]


def test_a_share_that_is_not_positive_is_refused() -> None:
    with pytest.raises(InputError, match=r"'deviation' is 0\.0; accepted: finite numbers above 0"):
        create("architecture-bo", SPACE, deviation=0.0)


def test_workers_get_different_classes_that_are_not_all_alike() -> None:
    strategy = create("architecture-bo", SPACE, 0, SCORE)
    for _ in range(15):
        arch = strategy.ask()
        strategy.tell(arch, Measurement({"score": quality(arch)}))
    restored = create("architecture-bo", SPACE, 0, SCORE)
    restored.restore(json.loads(json.dumps(strategy.state())))
    batch = [strategy.ask() for _ in range(6)]
    assert len(set(batch)) == 6
    assert [restored.ask() for _ in range(6)] == batch


def test_it_finds_the_best_cell_long_before_random_search_would() -> None:
    rewards = np.array([quality(a) for a in SPACE.architectures()])
    asked = replicate("architecture-bo", SPACE, rewards, range(10), 40)
    assert (rewards[asked].max(axis=1) == rewards.max()).mean() >= 0.9


def test_spaces_that_cannot_be_listed_are_refused() -> None:
    with pytest.raises(InputError, match=r"cannot be listed.*for others: bo"):
        create("architecture-bo", Mixed())
    with pytest.raises(InputError, match="'hyperparameters' value 'mcmc' is unknown"):
        create("architecture-bo", SPACE, hyperparameters="mcmc")
