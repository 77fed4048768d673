"""The latency reward (spec: log-log slope, fixed points, monotone) and the table of devices."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transnas import InputError, spaces, tasks
from transnas.evaluation import (
    Combined,
    DeviceTable,
    Evaluator,
    LatencyReward,
    Measurement,
    Objective,
    Table,
)
from transnas.evaluation.device_table import devices
from transnas.evaluation.latency_reward import latency_reward
from transnas.spaces import Architecture
from transnas.strategies import create
from transnas.tasks import Signature, TableTask

SPACE = spaces.get("nasbench201")
qualities, latencies = st.floats(1e-3, 1.0), st.floats(1e-2, 1e3)
weights = st.floats(-2.0, -1e-3)


@given(qualities, latencies, latencies)
def test_weight_zero_and_latency_at_the_target_leave_quality(p: float, a: float, t: float) -> None:
    assert latency_reward(p, a, t, 0.0) == p
    assert latency_reward(p, t, t, -0.07) == p
    assert latency_reward(p, t, t, -1.0, "hard") == p


@given(qualities, latencies, latencies, weights)
def test_log_reward_is_linear_in_log_latency(p: float, a: float, t: float, w: float) -> None:
    one, two = (latency_reward(p, x, t, w) for x in (a, 3 * a))
    assert math.log(two / one) / math.log(3) == pytest.approx(w, rel=1e-6)
    hard = latency_reward(p, a, t, w, "hard")
    assert hard == (p if a <= t else latency_reward(p, a, t, w))


@given(qualities, qualities, latencies, latencies, weights)
def test_more_quality_and_less_latency_are_never_worse(
    p: float, q: float, a: float, b: float, w: float
) -> None:
    for rule in ("soft", "hard"):
        high = latency_reward(max(p, q), min(a, b), 5.0, w, rule)  # type: ignore[arg-type]
        low = latency_reward(min(p, q), max(a, b), 5.0, w, rule)  # type: ignore[arg-type]
        assert high >= low


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((-0.5, 1.0, 1.0, -0.1), "quality -0.5 has no latency reward; accepted: .* from 0"),
        ((math.nan, 1.0, 1.0, -0.1), "quality nan"),
        ((0.5, 0.0, 1.0, -0.1), "latency 0"),
        ((0.5, 1.0, -1.0, -0.1), "latency target -1"),
        ((0.5, 1.0, 1.0, 0.1), "latency weight 0.1"),
    ],
)
def test_what_has_no_reward_is_refused(arguments: tuple[float, ...], said: str) -> None:
    with pytest.raises(InputError, match=said):
        latency_reward(*arguments)


class Known(Evaluator):
    """Gives the metrics that it was made with."""

    def __init__(self, **metrics: float) -> None:
        self.metrics = metrics

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        return Measurement(self.metrics)


def test_the_reward_is_one_more_metric() -> None:
    arch = SPACE.at(0)
    inner = Known(validation_accuracy=0.8, latency_ms=20.0)
    found = LatencyReward(inner, 10.0).evaluate(arch).metrics
    assert found["latency_reward"] == pytest.approx(0.8 * 2**-0.07)
    assert found["feasible"] == 0.0
    assert LatencyReward(inner, 20.0).evaluate(arch).metrics["feasible"] == 1.0
    hard = LatencyReward(inner, 10.0, constraint="hard").evaluate(arch).metrics
    assert hard["latency_reward"] == pytest.approx(0.4)
    labels = {LatencyReward(inner, t, w).label for t in (5.0, 6.0) for w in (-0.07, -0.1)}
    assert len(labels) == 4


def test_a_detector_that_finds_nothing_yet_has_reward_zero() -> None:
    measured = Known(validation_map=0.0, latency_ms=30.0)
    for constraint in ("soft", "hard"):
        reward = LatencyReward(measured, 10.0, constraint=constraint, metric="validation_map")  # type: ignore[arg-type]
        assert reward.evaluate(SPACE.at(0)).metrics["latency_reward"] == 0.0


def test_no_reward_fails_with_the_reason_and_a_missing_metric_is_named() -> None:
    arch = SPACE.at(0)
    found = LatencyReward(Known(validation_accuracy=-0.1, latency_ms=1.0), 10.0).evaluate(arch)
    assert found.status == "failed"
    assert "quality -0.1 has no latency reward" in found.error
    with pytest.raises(InputError, match="'latency_ms' of the latency reward is not measured"):
        LatencyReward(Known(validation_accuracy=0.5), 10.0).evaluate(arch)
    undeclared = Known(validation_accuracy=0.5)
    assert LatencyReward(undeclared, 10.0).reports() is None
    table = Table(tasks.get("nasbench201/cifar10"))  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"'energy_mj' of the .* accepted: flops, latency_ms, p"):
        LatencyReward(table, 10.0, latency="energy_mj")
    for settings in ({"target": 0.0}, {"target": 1.0, "weight": 1.0}):
        with pytest.raises(InputError, match="accepted"):
            LatencyReward(Known(), **settings)
    with pytest.raises(InputError, match="latency constraint"):
        LatencyReward(Known(), 1.0, constraint="strict")  # type: ignore[arg-type]


@pytest.fixture
def table(data_file: Callable[[str], Path]) -> Path:
    return data_file("nas/nasbench201_hw.npz")


def test_the_table_of_devices_is_the_file(table: Path) -> None:
    arrays = np.load(table, allow_pickle=False)
    names = list(map(str, arrays["metrics"]))
    task = tasks.get("nasbench201/cifar100")
    assert len([q for known in devices().values() for q in known]) == 9  # and one that is no cost
    cell = "|nor_conv_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_3x3~2|"
    arch = SPACE.from_text(cell)
    found = DeviceTable(task, "eyeriss").evaluate(arch).metrics
    row = arrays["hw_c100"][SPACE.index(arch)]
    assert found == {
        "latency_ms": pytest.approx(row[names.index("eyeriss_latency")]),
        "energy_mj": pytest.approx(row[names.index("eyeriss_energy")]),
    }
    assert set(DeviceTable(task, "pixel3").evaluate(arch).metrics) == {"latency_ms"}
    # More convolutions cost more on every device: a check that rows belong to these cells.
    convolutions = np.array(
        [sum(v in (2, 3) for v in SPACE.at(i).values) for i in range(0, 15625, 25)]
    )
    for device in ("raspi4", "pixel3", "fpga"):
        values = DeviceTable(task, device).values()[::25]
        assert np.corrcoef(convolutions, values)[0, 1] > 0.3, device


def test_devices_and_tasks_that_are_not_in_the_table(table: Path) -> None:
    with pytest.raises(InputError, match="did you mean 'edgegpu'"):
        DeviceTable(tasks.get("nasbench201/cifar10"), "edgegpus")
    with pytest.raises(InputError, match="task 'digits' is not in the table of devices"):
        DeviceTable(TableTask("digits", Signature((1, 8, 8), 10)), "edgegpu")


def test_a_strategy_searches_the_reward(table: Path) -> None:
    task = tasks.get("nasbench201/cifar10")
    inner = Combined([DeviceTable(task, "raspi4"), Table(task)])  # type: ignore[arg-type]
    target = float(np.quantile(DeviceTable(task, "raspi4").values(), 0.3))
    evaluator = LatencyReward(inner, target, constraint="hard")
    strategy = create("regularized-evolution", SPACE, 0, (Objective("latency_reward"),))
    feasible = []
    for _ in range(150):
        arch = strategy.ask()
        found = evaluator.evaluate(arch)
        strategy.tell(arch, found)
        feasible.append(found.metrics["feasible"])
    assert np.mean(feasible[50:]) > 0.5  # 0.3 of the space is
