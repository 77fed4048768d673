"""CATCH on NAS-Bench-201: the protocol of the paper's Figure 3, its ablations, and baselines.

    TRANSNAS_DATA=... python benchmarks/catch.py                # every row; hours on one core
    TRANSNAS_DATA=... python benchmarks/catch.py --methods CATCH CATCH-zero
    TRANSNAS_DATA=... python benchmarks/catch.py --quick        # 2 x 2, to see that it runs

Searches see one validation accuracy a query and nothing else of the target. Meta-training sees no
NAS-Bench-201 evaluation: pool D has the 7 TransNAS-Bench-101 tasks (25 x 20 queries), pool C500 a
model of 500 (ImageNet-subset task, cell, accuracy) rows, redrawn for each meta-training. Rows
that the result file already has are kept, so an interrupted run goes on. Writes
benchmarks/results/catch.json, docs/results/catch-nasbench201.md and the figure beside it.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from typing import Any

import _catch_page
import numpy as np
import torch
from _catch_methods import METHODS, QUERIES, Floats, Ints, Target, target
from _catch_plus_rows import ROWS
from _catch_statistics import interval, summary
from _record import RESULTS, write_result

ALL = {**METHODS, **ROWS}
BUDGET = 50
CUT = {"cifar10": 70, "cifar100": 50, "imagenet16-120": 40}
"""Queries of the published table with a time limit."""


def judge(cells: Ints, at: Target, protocol: str, cut: int) -> dict[str, Any]:
    """Return what is reported of searches [replicates, searches, queries] on one target."""
    asked, reward = cells[..., :BUDGET], at.reward(protocol)
    report: dict[str, Any] = {}
    for by in ("mean", "seed888", "test"):
        for label, count in ((by, 1), (f"{by}_top3", 3)):
            hit = np.isin(asked, at.best(by, count)).any(axis=-1).astype(np.float64)
            report[label] = interval(hit)
            if count == 1:
                report[f"{by}_hits"] = hit.sum(axis=1).astype(int).tolist()
    hit = np.isin(asked, at.best("mean"))
    first = np.where(hit.any(axis=-1), hit.argmax(axis=-1) + 1, np.inf).ravel()
    report["first_hits"] = np.where(np.isfinite(first), first, 0).astype(int).tolist()
    quantiles = np.quantile(first, (0.1, 0.5, 0.9), method="inverted_cdf")
    report["queries_to_hit"] = [int(q) if np.isfinite(q) else None for q in quantiles]
    report["best_queried"] = summary(at.mean[asked].max(axis=-1))
    for label, part in (("selected", asked), ("cut", cells[..., :cut])):
        place = reward[part].argmax(axis=-1)[..., None]
        chosen = np.take_along_axis(part, place, axis=-1)[..., 0]
        for by in ("mean", "seed888", "test"):
            values: Floats = getattr(at, by)
            report[f"{label}_{by}"] = summary(values[chosen])
    so_far = np.maximum.accumulate(at.mean[asked], axis=-1)
    bands = [interval(so_far[..., q]) for q in range(BUDGET)]
    report["curve"] = [[round(v, 3) for v in band] for band in bands]
    reached = np.maximum.accumulate(reward[asked], axis=-1).mean(axis=(0, 1))
    report["reward_at"] = {q: round(float(reached[q - 1]), 2) for q in (10, 20, 50)}
    return report


def main() -> None:
    """Run what the result file does not have yet."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--methods", nargs="*", default=list(ALL), choices=list(ALL))
    parser.add_argument(
        "--most", nargs=2, type=int, default=(50, 10), help="at most so many x searches a row"
    )
    parser.add_argument("--quick", action="store_true", help="2 x 2 searches; writes nothing")
    given = parser.parse_args()
    torch.set_num_threads(1)
    path = RESULTS / "catch.json"
    for name in given.methods:
        method = ALL[name]
        most = (2, 2) if given.quick else given.most
        # Rows without meta-training take seconds and are always whole.
        whole = method.cheap and not given.quick
        size = method.size if whole else tuple(map(min, method.size, most))
        stored = json.loads(path.read_text())["rows"] if path.exists() else {}
        known = stored.get(name, {}).get("size", (0, 0))
        if not given.quick and known[0] >= size[0] and known[1] >= size[1]:
            continue
        cpu = time.process_time()
        asked = method.run(*size)
        row = {
            "size": list(size),
            "pool": method.pool,
            "protocol": method.protocol,
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            "targets": {
                t: judge(found, target(t), method.protocol, CUT[t]) for t, found in asked.items()
            },
        }
        hits = [round(500 * r["mean"][0]) for r in row["targets"].values()]
        print(f"{name}: hits of 500 {hits}, {row['cpu_seconds']} CPU s", flush=True)
        if not given.quick:
            stored = json.loads(path.read_text())["rows"] if path.exists() else {}
            stored[name] = row
            write_result("catch", {"queries": QUERIES, "rows": stored})
    if not given.quick:
        _catch_page.write(path, list(ALL))


if __name__ == "__main__":
    main()
