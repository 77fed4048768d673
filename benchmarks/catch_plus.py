"""catch+ against learning from earlier studies, the same pools for the same seeds, protocol 12.

    TRANSNAS_DATA=... python benchmarks/catch_plus.py --seeds 500

Prints hits of the seed-mean best within 50 queries, median queries to it (51: missed), and the
paired difference in queries with its 95 % interval; writes benchmarks/results/catch-plus.json.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from _catch_methods import TARGETS, Floats, Ints, target
from _catch_plus_rows import ALL, SPACE, latents, priors
from _record import write_result

from transnas.meta.catch.plus import replicate_plus
from transnas.meta.store import replicate_transfer

QUERIES = 50


def queries_to_best(asked: Ints, name: str) -> Floats:
    """Return the query that met the best cell, 51 where none did, [seeds]."""
    hit = np.isin(asked, target(name).best("mean"))
    found: Floats = np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, QUERIES + 1).astype(float)
    return found


def main() -> None:
    """Run both methods on both pools."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--seeds", type=int, default=500)
    n = parser.parse_args().seeds
    rows: list[dict[str, Any]] = []
    for pool in ("D71", "C500"):
        for name in TARGETS:
            reward = target(name).short
            base = replicate_transfer(SPACE, reward, range(n), QUERIES, priors(pool, n))
            ours = replicate_plus(
                SPACE, reward, range(n), QUERIES, priors(pool, n), latents(pool, n), ALL
            )
            store, plus = queries_to_best(base, name), queries_to_best(ours, name)
            half = float(1.96 * (plus - store).std() / np.sqrt(n))
            row = {
                "pool": pool,
                "target": name,
                "seeds": n,
                "hits": {"store": int((store <= 50).sum()), "catch+": int((plus <= 50).sum())},
                "median": {"store": float(np.median(store)), "catch+": float(np.median(plus))},
                "queries_saved": [float((store - plus).mean()), half],
                "queries_to_best": {"store": store.tolist(), "catch+": plus.tolist()},
            }
            rows.append(row)
            print({k: v for k, v in row.items() if k != "queries_to_best"}, flush=True)
            write_result("catch-plus", {"queries": QUERIES, "rows": rows})


if __name__ == "__main__":
    main()
