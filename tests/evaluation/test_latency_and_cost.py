"""Latency, cost and their combination."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

from transnas import InputError, evaluation, networks, spaces, tasks
from transnas.evaluation import Combined, Cost, CostEvaluator, Evaluator, Latency, Measurement
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
    assert 6 * one <= peak <= 8 * one + 10_000


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
