"""What CATCH costs: meta-training, 500 searches at once, and one query of one agent.

    TRANSNAS_DATA=... python benchmarks/catch_speed.py

CPU seconds of one thread. Writes benchmarks/results/catch-speed.json, which
docs/results/catch-nasbench201.md prints.
"""

from __future__ import annotations

import resource
import time

import torch
from _catch_methods import CHUNK, FULL, SEARCH_SEEDS, SPACE, family, search, target
from _record import write_result

from transnas.meta.catch import meta_train

SEARCHES, QUERIES = 500, 50


def main() -> None:
    """Measure and write."""
    torch.set_num_threads(1)
    reward = target("cifar10").short
    pool = family("D", [0])
    began = time.process_time()
    trained = meta_train(pool, SPACE, [0], FULL)
    trained_at = time.process_time()
    search(trained.agent([0], [SEARCH_SEEDS], FULL), reward, QUERIES)
    searched_at = time.process_time()
    for start in range(0, SEARCHES, CHUNK):
        seeds = [SEARCH_SEEDS + start + i for i in range(CHUNK)]
        search(trained.agent([0] * CHUNK, seeds, FULL), reward, QUERIES)
    ended = time.process_time()
    result = {
        "meta_training_25x20": round(trained_at - began, 1),
        "query_ms": round(1000 * (searched_at - trained_at) / QUERIES, 1),
        "adaptation_500x50": round(ended - searched_at, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(result)
    write_result("catch-speed", result)


if __name__ == "__main__":
    main()
