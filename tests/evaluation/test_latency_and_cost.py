"""Latency, cost and their combination."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from transnas import InputError, evaluation, networks, spaces, tasks
from transnas.evaluation import (
    Combined,
    Cost,
    CostEvaluator,
    Evaluator,
    Latency,
    Measurement,
    _counting,
)
from transnas.evaluation.cost import peak_memory
from transnas.networks.nasbench201 import Skeleton, flops, parameters
from transnas.spaces import Architecture, Space
from transnas.tasks import Signature
from transnas.testing.evaluators import EvaluatorContract

torch.set_num_threads(1)
SPACE = spaces.get("nasbench201")
DIGITS = tasks.get("digits")
CIFAR = tasks.get("nasbench201/cifar10")
SMALL = {"channels": 8, "cells": 1}
ALL_3X3, EMPTY = SPACE.architecture((3,) * 6), SPACE.architecture((0,) * 6)


class TestLatency(EvaluatorContract):
    timed = ("latency_ms", "latency_spread_ms")

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return Latency(DIGITS, SPACE, "cpu", warmup=1, repeats=3, skeleton=SMALL)

    @pytest.fixture
    def space(self) -> Space:
        return SPACE


class TestCost(EvaluatorContract):
    @pytest.fixture
    def evaluator(self) -> Evaluator:
        return CostEvaluator(DIGITS, SPACE, skeleton=SMALL)

    @pytest.fixture
    def space(self) -> Space:
        return SPACE


class TestCombined(EvaluatorContract):
    timed = ("latency_ms", "latency_spread_ms")

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        cost = CostEvaluator(DIGITS, SPACE, skeleton=SMALL)
        return Combined([cost, Latency(DIGITS, SPACE, "cpu", warmup=0, repeats=2, skeleton=SMALL)])

    @pytest.fixture
    def space(self) -> Space:
        return SPACE


def test_larger_networks_take_longer() -> None:
    latency = Latency(CIFAR, SPACE, "cpu", 4, warmup=1, repeats=5, threads=1, skeleton={"cells": 1})
    threads = torch.get_num_threads()
    slow, fast = latency.evaluate(ALL_3X3), latency.evaluate(EMPTY)
    assert slow.metrics["latency_ms"] > fast.metrics["latency_ms"] > 0
    assert slow.metrics["latency_spread_ms"] >= 0
    assert torch.get_num_threads() == threads
    assert slow.cost.device == "cpu"


def test_counting_leaves_a_network_as_it_is() -> None:
    network = networks.build(SPACE, ALL_3X3, DIGITS.signature, **SMALL)
    network.head.weight.requires_grad_(False)
    signature, counted = DIGITS.signature, parameters(ALL_3X3, DIGITS.signature, Skeleton(**SMALL))
    assert _counting.parameters(network) == counted - 10 * 32
    before = {name: value.clone() for name, value in network.state_dict().items()}
    for training in (True, False):
        network.train(training)
        _counting.flops(network, signature)
        assert network.training == training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_latency_is_the_median_after_the_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = iter([90.0, 80.0, 5.0, 1.0, 2.0, 4.0, 3.0])
    latency = Latency(DIGITS, SPACE, "cpu", warmup=2, repeats=5, threads=1, skeleton=SMALL)
    with monkeypatch.context() as patch:
        patch.setattr("transnas.evaluation.latency._cpu_ms", lambda run: next(taken))
        found = latency.evaluate(EMPTY).metrics
    assert found == {"latency_ms": 3.0, "latency_spread_ms": 2.0}
    assert not list(taken)
    # In milliseconds: half of the timed runs took at least the median, within the whole time.
    timed = latency.evaluate(EMPTY)
    assert 3 * timed.metrics["latency_ms"] / 1e3 <= timed.cost.seconds


def test_latency_is_measured_in_evaluation_mode_with_so_many_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[bool, int]] = []

    def build(*args: object, **settings: object) -> nn.Module:
        network = nn.Flatten()
        network.register_forward_hook(
            lambda module, *_: seen.append((module.training, torch.get_num_threads()))
        )
        return network

    before = torch.get_num_threads()
    latency = Latency(DIGITS, SPACE, "cpu", warmup=1, repeats=2, threads=2, skeleton=SMALL)
    monkeypatch.setattr("transnas.networks.build", build)
    latency.evaluate(EMPTY)
    assert seen == [(False, 2)] * 3
    assert torch.get_num_threads() == before


def test_counts_are_the_formulas() -> None:
    for cell in (ALL_3X3, EMPTY, SPACE.architecture((1, 2, 3, 4, 0, 2))):
        found = CostEvaluator(DIGITS, SPACE, skeleton=SMALL).evaluate(cell).metrics
        skeleton = Skeleton(**SMALL)
        assert found["parameters"] == parameters(cell, DIGITS.signature, skeleton)
        # The published count includes the bias of the last layer; torch's counter does not.
        assert found["flops"] == flops(cell, DIGITS.signature, skeleton) - 10


def test_peak_memory_of_a_chain_by_hand() -> None:
    # A chain of ReLUs keeps each output for the backward pass.
    with torch.device("meta"):
        chain = nn.Sequential(
            nn.Conv2d(1, 1, 1, bias=False), *[nn.ReLU() for _ in range(4)], nn.Flatten(),
            nn.Linear(64, 2, bias=False),
        )  # fmt: skip
    one = 32 * 64 * 4  # bytes of a batch of 32 maps of 64 float32
    peak = peak_memory(chain, Signature((1, 8, 8), 2), 32)
    assert 7 * one <= peak <= 7 * one + 10_000


def test_peak_memory_has_all_that_a_training_step_keeps() -> None:
    signature, one = Signature((1, 8, 8), 2), 32 * 64 * 4

    def peak(*layers: nn.Module) -> int:
        with torch.device("meta"):
            chain = nn.Sequential(nn.Conv2d(1, 1, 1), *layers, nn.Flatten(), nn.Linear(64, 2))
        if len(layers) > 2:
            chain.register_buffer("table", torch.empty(100_000, device="meta"))
        return peak_memory(chain.eval(), signature, 32)

    plain = peak(nn.ReLU(), nn.ReLU())
    assert peak(nn.ReLU(), nn.ReLU(), nn.Identity()) == plain + 400_000  # a buffer
    assert peak(nn.ReLU(), nn.Dropout()) > peak(nn.ReLU()) + one / 2  # nothing in evaluation
    found = CostEvaluator(DIGITS, SPACE, batch_size=16, skeleton=SMALL).evaluate(ALL_3X3).metrics
    with torch.device("meta"):
        network = networks.build(SPACE, ALL_3X3, DIGITS.signature, **SMALL)
    assert found["peak_memory_mb"] * 1e6 == pytest.approx(
        peak_memory(network, DIGITS.signature, 16)
    )


def test_peak_memory_grows_with_the_batch_and_allocates_nothing() -> None:
    small, large = (CostEvaluator(CIFAR, SPACE, batch_size=b) for b in (8, 64))
    a, b = (e.evaluate(ALL_3X3).metrics["peak_memory_mb"] for e in (small, large))
    weights = 4 * parameters(ALL_3X3, CIFAR.signature) / 1e6
    assert a > 2 * weights
    assert b > 5 * a
    with torch.device("meta"):
        network = networks.build(SPACE, ALL_3X3, CIFAR.signature)
    assert peak_memory(network, CIFAR.signature, 4096) > 1e9


class Fixed(Evaluator):
    def __init__(self, measurement: Measurement) -> None:
        self.measurement = measurement

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        return self.measurement


def test_combination_merges_adds_and_stops_at_a_failure() -> None:
    first = Measurement({"a": 1.0, "b": 2.0}, Cost(1.0, 0.0, ""))
    second = Measurement({"b": 9.0, "c": 3.0}, Cost(2.0, 5.0, "cpu"), curve=({"c": 3.0},))
    failed = Measurement.failed("out of memory", Cost(4.0))
    both = Combined([Fixed(first), Fixed(second)]).evaluate(EMPTY)
    assert both.metrics == {"a": 1.0, "b": 2.0, "c": 3.0}
    assert both.cost == Cost(3.0, 5.0, "cpu")
    assert both.curve == ({"c": 3.0},)
    stopped = Combined([Fixed(first), Fixed(failed), Fixed(second)]).evaluate(EMPTY)
    assert (stopped.status, stopped.error) == ("failed", "out of memory")
    assert stopped.metrics == {"a": 1.0, "b": 2.0}
    assert stopped.cost.seconds == 5.0
    with pytest.raises(InputError, match="evaluators are empty"):
        Combined([])


def test_bad_settings_are_refused() -> None:
    for field in ("batch_size", "warmup", "repeats", "threads"):
        with pytest.raises(InputError, match=f"{field} -1 is not accepted"):
            Latency(DIGITS, SPACE, **{field: -1})
    with pytest.raises(InputError, match="batch_size 1 is"):
        CostEvaluator(DIGITS, SPACE, batch_size=1)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        evaluation.Nothing  # noqa: B018


def test_evaluators_are_light_to_send() -> None:
    assert len(pickle.dumps(CostEvaluator(DIGITS, SPACE))) < 5_000
    assert len(pickle.dumps(Latency(DIGITS, SPACE))) < 5_000
