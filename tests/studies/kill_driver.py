"""Kills a running search at random moments; run by test_kill.py in a process of its own.

This process imports everything once and forks; each child searches until it is killed.
Arguments: storage URL, number of kills, trials, strategy, seconds an evaluation, seed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from study_toys import TASK, Sum

from transnas.studies import search


def main(storage: str, kills: int, trials: int, strategy: str, seconds: float, seed: int) -> None:
    """Search, be killed, and search again; the last run is left to finish."""
    moments = random.Random(seed)
    for i in range(kills + 1):
        child = os.fork()
        if child == 0:
            search(TASK, None, strategy, trials, storage=storage, name="x", evaluator=Sum(seconds))
            os._exit(0)
        if i < kills:
            # Some die before the study exists, most in the middle of it.
            time.sleep(moments.uniform(0.0, 0.45))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status) != (i < kills) or (i == kills and status != 0):
            sys.exit(f"run {i} ended with {status}; every one but the last was to be killed")


if __name__ == "__main__":
    storage, kills, trials, strategy, seconds, seed = sys.argv[1:]
    main(storage, int(kills), int(trials), strategy, float(seconds), int(seed))
