"""Differences between rows of benchmarks/catch.py, with intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
DRAWS = 10_000
DETERMINISTIC = "fixed list by mean rank"
"""A row of one search that has no chance in it."""


def shares(row: dict[str, Any], target: str) -> Floats:
    """Return the share of searches that met the seed-mean best, by replicate, [R]."""
    found: Floats = np.array(row["targets"][target]["mean_hits"]) / row["size"][1]
    return found


def alike(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Tell whether replicate r of both rows learnt from the same draw of a pool.

    Rows with several searches a replicate are meta-trainings, those with one draws of the store.
    """
    kinds = [(row["pool"], row["size"][1] > 1) for row in (first, second)]
    return bool(kinds[0] == kinds[1] and first["pool"] != "–")


def difference(first: Floats, second: Floats, paired: bool) -> list[float]:
    """Return the difference of the means and its 95 % interval, by bootstrap over replicates.

    Paired replicates are resampled together, as many as both have; others each on its own.
    """
    rng = np.random.default_rng(0)
    if paired:
        n = min(len(first), len(second))
        by = first[:n] - second[:n]
        means = by[rng.integers(n, size=(DRAWS, n))].mean(axis=1)
        centre = by.mean()
    else:
        means = _resampled(first, rng) - _resampled(second, rng)
        centre = first.mean() - second.mean()
    low, high = np.quantile(means, (0.025, 0.975))
    return [float(centre), float(low), float(high)]


def _resampled(values: Floats, rng: np.random.Generator) -> Floats:
    found: Floats = values[rng.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    return found


def queries_saved(first: dict[str, Any], second: dict[str, Any], target: str) -> list[float] | None:
    """Return how many queries fewer `first` needs to the best; a miss counts as 51.

    None where a row does not have the queries of each search.
    """
    rows = [row["targets"][target].get("first_hits") for row in (first, second)]
    if rows[0] is None or rows[1] is None:
        return None
    needed = []
    for row, found in zip((first, second), rows, strict=True):
        queries = np.array(found, dtype=np.float64).reshape(row["size"])
        needed.append(np.where(queries == 0, 51.0, queries).mean(axis=1))
    return difference(needed[1], needed[0], alike(first, second))
