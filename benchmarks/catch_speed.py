"""What CATCH costs: one meta-training, and one query of one agent.

    TRANSNAS_DATA=... python benchmarks/catch_speed.py

Pool D, CIFAR-10, CPU time of one thread; batches are in benchmarks/results/catch.json. Writes benchmarks/results/catch-speed.json, which
docs/results/catch-nasbench201.md prints.
"""

from __future__ import annotations

import resource
import time

import torch
from _catch_methods import FULL, SEARCH_SEEDS, SPACE, family, search, target
from _record import write_result

from transnas.meta.catch import meta_train

QUERIES = 50


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
    result = {
        "meta_training_25x20": round(trained_at - began, 1),
        "query_ms": round(1000 * (searched_at - trained_at) / QUERIES, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(result)
    write_result("catch-speed", result)


if __name__ == "__main__":
    main()
