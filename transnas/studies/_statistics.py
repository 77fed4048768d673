"""Intervals and tests for comparisons over seeds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["bootstrap_mean", "expected_best", "holm", "paired_p"]

Floats = npt.NDArray[np.float64]


def bootstrap_mean(
    values: Floats, resamples: int = 4000, confidence: float = 0.95, seed: int = 0
) -> tuple[Floats, Floats, Floats]:
    """Return mean, lower and upper end of the percentile bootstrap over the first axis.

    `values` [n, columns] are resampled by rows, the same rows for every column. NaN means that a
    row has nothing in a column, and is left out of that column's means. The interval is too
    narrow for few rows: of normal values, one of 95% covers the mean in 75% of cases with 3 rows,
    83% with 5, 91% with 10 and 93% with 20; that of a single row has no width.
    """
    n = len(values)
    known = ~np.isnan(values)
    filled = np.where(known, values, 0.0)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples).astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = filled.sum(axis=0) / known.sum(axis=0)
        means = (weights @ filled) / (weights @ known.astype(np.float64))
    tail = 50 * (1 - confidence)
    found = ~np.isnan(means).all(axis=0)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    if found.any():
        low[found], high[found] = np.nanpercentile(means[:, found], [tail, 100 - tail], axis=0)
    return mean, low, high


def expected_best(values: Floats, count: int) -> float:
    """Return the expected maximum of `count` different ones of `values` [n], drawn uniformly.

    E = sum_i v_(i) C(i - 1, count - 1) / C(n, count) over the ascending values. NaN is left out;
    all that there are make the maximum if they are fewer than `count`.
    """
    from scipy.special import gammaln

    known = np.sort(values[~np.isnan(values)])
    n = len(known)
    if n <= count:
        return float(known[-1]) if n else float("nan")
    i = np.arange(count, n + 1)
    # C(i - 1, count - 1) / C(n, count), of which each alone would overflow.
    log_ways = gammaln(i) - gammaln(i - count + 1) - gammaln(count)
    log_all = gammaln(n + 1) - gammaln(n - count + 1) - gammaln(count + 1)
    return float(np.exp(log_ways - log_all) @ known[count - 1 :])


def paired_p(first: Floats, second: Floats) -> float:
    """Return the two-sided p-value of Wilcoxon's signed-rank test on pairs with both values.

    Pairs without a difference count half for each side (zero split). NaN for fewer than two
    pairs, 1 if no pair differs.
    """
    both = ~(np.isnan(first) | np.isnan(second))
    differences = second[both] - first[both]
    if len(differences) < 2:
        return float("nan")
    if not differences.any():
        return 1.0
    from scipy.stats import wilcoxon  # half a second that other commands need not wait

    return float(wilcoxon(differences, zero_method="zsplit").pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values, which hold for all the tests together; NaN stays NaN."""
    adjusted = [float("nan")] * len(p_values)
    order = sorted((p, i) for i, p in enumerate(p_values) if p == p)
    worst = 0.0
    for rank, (p, i) in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * p))
        adjusted[i] = worst
    return adjusted
