"""A study of 100,000 trials; benchmarks/studies.py has the times."""

from __future__ import annotations

import subprocess
import sys

import pytest
from study_toys import SPACE

from transnas.evaluation import Cost, Measurement, Objective
from transnas.studies import load_study
from transnas.studies._definition import Definition
from transnas.studies._executors import now
from transnas.studies._storage import open_store
from transnas.studies._trial import Codec, Entry, Trial

OPEN = """
import re, sys
from transnas.studies import load_study
study = load_study("large", sys.argv[1])
peak = re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]
print(len(study.trials), int(peak) / 2**20)
"""


@pytest.mark.slow
def test_a_large_study_opens_in_little_memory(sqlite: str) -> None:
    objective = Objective()
    codec = Codec(SPACE, (objective,))
    definition = Definition("toy", SPACE.name, "random")
    with open_store(sqlite, create=True) as store:
        attributes = {"definition": definition.to_dict(), "info": {}}
        study = store.create("large", (objective,), attributes)
        lease = store.acquire(study)
        for begin in range(0, 100_000, 5_000):
            entries = []
            for i in range(begin, begin + 5_000):
                measured = Measurement({"validation_accuracy": i / 1e5}, Cost(1.0, 12))
                trial = Trial(i, SPACE.at(i % SPACE.size), measured, now(), now(), i)
                entries.append(Entry(trial, i + 1))
            lease = store.append(study, lease, codec, entries, None)
        store.release(study, lease)
    output = subprocess.run(
        [sys.executable, "-c", OPEN, sqlite], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(output[0]) == 100_000
    assert float(output[1]) < 1.0, "GiB at the peak"
    best = load_study("large", sqlite).best
    assert best is not None
    assert best.number == 99_999
