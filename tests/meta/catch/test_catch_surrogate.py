"""Virtual tasks from few rows of many tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from transnas import InputError, spaces
from transnas.meta.catch import CatchSettings, SurrogateFamily, meta_train
from transnas.meta.catch.surrogate import Rows, classes_of
from transnas.spaces import Choice, Space

CODES = np.indices((3,) * 5).reshape(5, -1).T


class Five(Space):
    """Five free choices of three."""

    name = "five"
    choices = tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(5))


SPACE = Five()
TRUTH = np.array([3.0, 2.0, 1.0, 0.5, 0.0])


def truth(codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Additive: the second value of each choice is the good one, [R]."""
    return np.asarray((codes == 1) @ TRUTH)


@pytest.fixture(scope="module")
def family() -> SurrogateFamily:
    rng = np.random.default_rng(0)
    chosen, task = rng.integers(len(CODES), size=160), rng.integers(60, size=160)
    level = 5 * rng.standard_normal(60)
    reward = truth(CODES[chosen]) + level[task] + 0.2 * rng.standard_normal(160)
    numbers = np.array([classes_of(SPACE).number(tuple(c)) for c in CODES[chosen].tolist()])
    return SurrogateFamily(SPACE, {0: Rows(numbers, task, reward)}, "made up")


def test_the_level_of_a_task_is_told_apart_from_its_networks(family: SurrogateFamily) -> None:
    found = family._posterior(0).variances
    assert 10 < found.level < 60
    assert found.noise + found.own < 0.2 * found.level


def test_virtual_tasks_resemble_the_truth_and_differ(family: SurrogateFamily) -> None:
    drawn = []
    for epoch in range(3):
        evaluate = family.tasks([0], epoch)
        drawn.append(np.array([evaluate(code[None])[0] for code in CODES]))
    for values in drawn:
        assert np.corrcoef(values, truth(CODES))[0, 1] > 0.7
    assert not np.allclose(drawn[0], drawn[1])
    again = family.tasks([0], 0)
    assert np.array_equal(drawn[0], [again(code[None])[0] for code in CODES])


def test_rows_differ_by_seed_and_agents_train_on_them(data_file: Callable[[str], Path]) -> None:
    data_file("nas/metad2a_nb201_tasks.npz")
    space = spaces.get("nasbench201")
    family = SurrogateFamily.of_metad2a(space, [0, 1], rows=60)
    assert not np.array_equal(family.rows[0].architecture, family.rows[1].architecture)
    settings = CatchSettings(hidden=8, candidates=8, updates=1, policy_updates=1)
    trained = meta_train(family, space, [0, 1], settings, epochs=1, queries=7)
    assert trained.learnt_from["source"] == "metad2a, 60 rows"


def test_spaces_that_are_too_large_are_refused() -> None:
    class Large(Space):
        name = "large"
        choices = tuple(Choice(f"c{i}", ("a", "b", "c")) for i in range(12))

    with pytest.raises(InputError, match="531441 architectures"):
        SurrogateFamily(Large(), {}, "none")
