"""`EvaluatorContract`: what every evaluator must do, as a pytest class."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest

from transnas._errors import InputError
from transnas.evaluation import Evaluator, Measurement
from transnas.spaces import Architecture, Space

__all__ = ["EvaluatorContract"]


class EvaluatorContract:
    """Properties of an `Evaluator`. Subclasses override the fixtures `evaluator` and `space`.

    `timed` names metrics that are measured with a clock and differ from call to call.
    """

    timed: tuple[str, ...] = ()

    @pytest.fixture
    def evaluator(self) -> Evaluator:
        """Return the evaluator under test, with a small default budget."""
        raise NotImplementedError("override the fixture `evaluator`")

    @pytest.fixture
    def space(self) -> Space:
        """Return the space whose architectures it measures."""
        raise NotImplementedError("override the fixture `space`")

    def stable(self, measurement: Measurement) -> dict[str, float]:
        """Return the metrics that must repeat exactly."""
        return {k: v for k, v in measurement.metrics.items() if k not in self.timed}

    def test_same_call_gives_the_same_measurement(self, evaluator: Evaluator, space: Space) -> None:
        first, second = (space.sample(np.random.default_rng(s)) for s in (0, 1))
        before = evaluator.evaluate(first, seed=3)
        evaluator.evaluate(second, seed=4)
        after = evaluator.evaluate(first, seed=3)
        assert self.stable(before) == self.stable(after)
        assert before.status == after.status

    def test_measurement_is_complete_and_round_trips(
        self, evaluator: Evaluator, space: Space
    ) -> None:
        measurement = evaluator.evaluate(space.sample(np.random.default_rng(0)))
        assert measurement.status in ("complete", "failed")
        assert bool(measurement.error) == (measurement.status == "failed")
        assert all(isinstance(v, float) and math.isfinite(v) for v in measurement.metrics.values())
        assert measurement.cost.seconds >= 0
        reported = evaluator.reports()
        assert reported is None or set(measurement.metrics) <= reported
        assert Measurement.from_dict(json.loads(json.dumps(measurement.to_dict()))) == measurement

    def test_survives_a_trip_to_a_worker(self, evaluator: Evaluator, space: Space) -> None:
        arch = space.sample(np.random.default_rng(2))
        travelled: Evaluator = pickle.loads(pickle.dumps(evaluator))
        assert self.stable(travelled.evaluate(arch)) == self.stable(evaluator.evaluate(arch))

    def test_refuses_another_space_and_bad_budgets(
        self, evaluator: Evaluator, space: Space
    ) -> None:
        arch = space.sample(np.random.default_rng(0))
        with pytest.raises(InputError):
            evaluator.evaluate(Architecture("another", arch.values, arch.numbers))
        for budget in (0, -3):
            with pytest.raises(InputError):
                evaluator.evaluate(arch, budget)
