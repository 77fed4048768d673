"""The published baselines on NAS-Bench-201, replayed on its table with 500 seeds.

Query: 12-epoch validation accuracy on CIFAR-10 at its simulated cost. A run ends with the query
that reaches the budget, and reports the 200-epoch seed means of its best query. The expected
rows come from an independent implementation; the standard error of a mean is about 0.015.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from transnas.spaces import get
from transnas.strategies import replicate

SEEDS = range(500)
Table = dict[str, npt.NDArray[np.float64]]


@pytest.fixture(scope="module")
def table(data_file: Callable[[str], Path]) -> Table:
    """Return the columns by name, in per cent and seconds; `val_*` are seed means."""
    columns: Table = {}
    for file in ("nas/nasbench201.npz", "nas/nasbench201_test.npz"):
        with np.load(data_file(file), allow_pickle=False) as arrays:
            columns |= {name: arrays[name].astype(float) for name in arrays.files}
    for task in ("c10", "c100", "in16"):
        columns[f"val_{task}"] = np.nanmean(columns[f"val_{task}"], axis=1)
    return columns


ROWS: list[tuple[str, dict[str, Any], tuple[float, ...], tuple[float, ...]]] = [
    # strategy, settings, (queries, validation, test) at 12,000 s, the same at 20,000 s
    ("random", {}, (110, 90.97, 93.75), (183, 91.11, 93.89)),
    ("regularized-evolution", {}, (103, 91.17, 93.94), (169, 91.32, 94.07)),
    ("reinforce", {"learning_rate": 0.01}, (108, 91.02, 93.80), (176, 91.15, 93.93)),
    ("reinforce", {"learning_rate": 0.001}, (110, 90.98, 93.75), (182, 91.09, 93.86)),
    ("local-search", {}, (94, 91.33, 94.15), (155, 91.42, 94.26)),
]


@pytest.mark.parametrize(("name", "settings", "at_12000", "at_20000"), ROWS)
def test_replay_rows(
    table: Table,
    name: str,
    settings: dict[str, Any],
    at_12000: tuple[float, ...],
    at_20000: tuple[float, ...],
) -> None:
    reward, cost = table["val12_c10"], table["cost12_c10"]
    asked = replicate(name, get("nasbench201"), reward, SEEDS, 320, **settings)
    spent = np.cumsum(cost[asked], axis=1)
    for budget, (queries, validation, test) in ((12_000, at_12000), (20_000, at_20000)):
        count = (spent < budget).sum(axis=1) + 1
        assert count.max() <= 320
        made = np.arange(320) < count[:, None]
        best = asked[np.arange(500), np.where(made, reward[asked], -1).argmax(axis=1)]
        assert count.mean() == pytest.approx(queries, abs=3)
        assert table["val_c10"][best].mean() == pytest.approx(validation, abs=0.05)
        assert table["test_c10"][best].mean() == pytest.approx(test, abs=0.05)


HITS: list[tuple[str, dict[str, Any], tuple[int, int, int]]] = [
    ("random", {}, (0, 4, 2)),
    ("regularized-evolution", {"population": 10, "sample": 3}, (15, 13, 19)),
    ("regularized-evolution", {"population": 10, "sample": 5}, (19, 25, 13)),
    ("regularized-evolution", {"population": 10, "sample": 10}, (40, 50, 43)),
    ("local-search", {}, (74, 110, 78)),
]


@pytest.mark.parametrize(("name", "settings", "expected"), HITS)
def test_hits_of_the_best_cell_in_50_queries(
    table: Table, name: str, settings: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    for task, hits in zip(("c10", "c100", "in16"), expected, strict=True):
        best = table[f"val_{task}"].argmax()
        asked = replicate(name, get("nasbench201"), table[f"val12_{task}"], SEEDS, 50, **settings)
        found = int((asked == best).any(axis=1).sum())
        # Both counts are of 500: the same rate, at the level of 1 in 1,000 a comparison.
        two_sided = stats.fisher_exact([[found, 500 - found], [hits, 500 - hits]]).pvalue
        assert two_sided > 1e-3, (task, found, hits)


def test_the_best_of_random_queries_follows_the_closed_form(table: Table) -> None:
    # E[max of n without replacement] = sum_i v_(i) C(i-1, n-1) / C(N, n)
    values, n = table["val_c10"], 50
    asked = replicate("random", get("nasbench201"), table["val12_c10"], SEEDS, n)
    best = values[asked].max(axis=1)
    assert best.mean() == pytest.approx(90.799, abs=3 * 0.407 / 500**0.5)
