"""Bayesian optimisation of listable spaces: its posterior, its evidence, and its searches."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import norm

from transnas import InputError, spaces
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture
from transnas.strategies import create, replicate
from transnas.strategies._replicates import one_replicate
from transnas.strategies.bayesian._candidates import listed
from transnas.strategies.bayesian._ensemble import Incremental
from transnas.strategies.bayesian.architecture_bo import (
    ArchitectureBO,
    ArchitectureSettings,
    Search,
)
from transnas.testing.strategies import Mixed

SCORE = (Objective("score"),)
SPACE = spaces.get("transnas101-micro")


def quality(arch: Architecture) -> float:
    return float(sum(v == 3 for v in arch.values) - sum(v == 0 for v in arch.values))


@pytest.mark.parametrize("count", [5, 70])  # room is made for 64 at first
def test_posterior_and_evidence_are_the_dense_closed_forms(count: int) -> None:
    candidates, noise = listed(SPACE), 0.3
    observed = [5, 99, 700, 5, *range(820, 820 - 9 * (count - 4), -9)]
    rewards = np.random.default_rng(0).standard_normal(count) * 3
    model = Incremental(len(candidates), noise)
    for i in observed:
        model.observe(i, candidates.column(i))
    kernel = np.stack([candidates.column(i) for i in observed]).astype(np.float64)
    inverse = np.linalg.inv(kernel[:, observed] + noise * np.eye(count))
    ones = np.ones(count)
    precision = ones @ inverse @ ones
    offset = ones @ inverse @ rewards / precision
    squares = (rewards - offset) @ inverse @ (rewards - offset)
    evidence = model.weigh(rewards)
    assert evidence.scale == pytest.approx(np.sqrt(squares / (count - 1)), rel=1e-5)
    log = 0.5 * np.linalg.slogdet(inverse)[1] - 0.5 * np.log(precision)
    log -= 0.5 * (count - 1) * np.log(squares / (count - 1))
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


@pytest.mark.parametrize("hyperparameters", ["fixed", "map", "marginal"])
def test_acquisition_is_the_expected_improvement_averaged_over_the_noises(
    hyperparameters: str,
) -> None:
    candidates, rng = listed(SPACE), np.random.default_rng(3)
    search = Search(candidates, ArchitectureSettings(hyperparameters=hyperparameters))
    observed = rng.choice(len(candidates), 12, replace=False).tolist()
    rewards = np.array([quality(candidates.archs[i]) for i in observed]) + rng.normal(size=12)
    rewards[3] -= 80.0
    for i, reward in zip(observed, rewards.tolist(), strict=True):
        search.observe(i, reward)
    quartile = np.quantile(rewards, 0.75)
    clipped = np.maximum(rewards, quartile - 4 * (rewards.max() - quartile))
    parts = []
    for noise in (0.46,) if hyperparameters == "fixed" else (0.1, 0.46, 2.0):
        model = Incremental(len(candidates), noise)
        for i in observed:
            model.observe(i, candidates.column(i))
        evidence = model.weigh(clipped)
        mean, deviation = (evidence.scale * part for part in model.predict(evidence.white))
        gain = mean - mean[observed].max()
        z = gain / (0.4 * deviation)
        parts.append((evidence.log, gain * norm.cdf(z) + 0.4 * deviation * norm.pdf(z)))
    logs = np.array([log for log, _ in parts])
    weights = np.exp(logs - logs.max()) / np.exp(logs - logs.max()).sum()
    assert len(logs) == 1 or (weights > 0.05).all()
    if hyperparameters == "map":
        weights = np.eye(3)[weights.argmax()]
    expected = weights @ np.stack([worth for _, worth in parts])
    found = search._acquisition()
    np.testing.assert_allclose(found / found.max(), expected / expected.max(), atol=1e-3)


def test_pending_candidates_are_believed_to_turn_out_as_predicted() -> None:
    candidates, rng = listed(SPACE), np.random.default_rng(4)
    search = Search(candidates, ArchitectureSettings(hyperparameters="fixed"))
    observed = rng.choice(len(candidates), 30, replace=False).tolist()
    for i in observed:
        search.observe(i, 70 + 5 * quality(candidates.archs[i]))
    search.free[[7, 8]] = False
    believed = search._believing([7, 400])
    # A generalised least squares mean with its offset, in the rewards' unit.
    some = [*observed, 7, 400]
    kernel = candidates.between(np.array(observed), np.array(some)).astype(np.float64)
    inverse = np.linalg.inv(kernel[:, :30] + 0.46 * np.eye(30))
    rewards = np.array(search._rewards)
    offset = inverse.sum(axis=0) @ rewards / inverse.sum()
    predicted = offset + kernel[:, 30:].T @ inverse @ (rewards - offset)
    spread = rewards.std()
    assert believed._rewards[:30] == search._rewards
    assert believed._rewards[30:] == pytest.approx(predicted, abs=0.1 * spread)
    assert np.flatnonzero(~believed.free).tolist() == sorted({*observed, 7, 8, 400})


def test_isomorphs_of_what_was_told_are_not_proposed() -> None:
    twins = [a for a in SPACE.architectures() if SPACE.canonical(a) != a][:40]
    strategy = create("architecture-bo", SPACE, 0, SCORE)
    assert isinstance(strategy, ArchitectureBO)
    for arch in twins:
        strategy.tell(arch, Measurement({"score": quality(arch)}))
    told = {SPACE.canonical(arch) for arch in twins}
    free = strategy._current().free
    assert {a for a, on in zip(listed(SPACE).archs, free, strict=True) if not on} == told


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
