"""The demo: search digits by real training, then a new task with and without earlier studies.

    python examples/demo.py FOLDER

Writes FOLDER/studies.db, FOLDER/winner/ (the trained network) and FOLDER/report.html. Runs in
about three minutes on two cores; run again, it continues where it stopped.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np

import transnas as tn
from transnas import spaces, strategies, tasks
from transnas.evaluation.table import Table
from transnas.meta.store import SourceTask, learn, replicate_transfer
from transnas.studies import Comparison, Study
from transnas.studies.export import describe, export
from transnas.studies.final import train_final
from transnas.studies.report import write_report

EARLIER = ("nasbench201/cifar10", "nasbench201/cifar100")
NEW = "nasbench201/imagenet16-120"
EARLIER_TRIALS, NEW_TRIALS, SEEDS = 100, 50, 100


def search_digits(storage: str, folder: Path) -> Study:
    """Search with real trainings, then train the winner longer and test it once."""
    study = tn.search("digits", "nasbench201", trials=14, workers=2, storage=storage, progress=True)
    assert study.best is not None
    if not study.final_tests:
        task = tasks.get("digits")
        network, final = train_final(task, study.space, study.best.architecture, epochs=40)
        formats, about = ("safetensors", "torch"), describe(task)
        export(network, task.signature, folder / "winner", formats, about)
        study.record_final_test(final.subject, final.metrics)
    accuracy = study.final_tests[-1]["metrics"]["test_accuracy"]
    print(f"digits: the trained winner has {accuracy:.2%} test accuracy")
    return study


def search_tables(storage: str) -> list[Study]:
    """Search two tables, then a third that learns from all earlier studies in the storage."""
    found = [
        tn.search(task, trials=EARLIER_TRIALS, storage=storage, progress=False) for task in EARLIER
    ]
    found.append(
        tn.search(
            NEW,
            strategy="store-transfer",
            trials=NEW_TRIALS,
            storage=storage,
            learn_from=[storage],
            progress=False,
        )
    )
    for study in found:
        assert study.best is not None
        value = study.best.metrics["validation_accuracy"]
        print(f"{study.task}: {value:.2%} after {len(study.trials)} trials of {study.strategy}")
    return found


def compare_on_new() -> Comparison:
    """Compare learning from two earlier studies with searches that start from nothing.

    Every seed has earlier studies of its own: evolution on the two other tables under that seed.
    """
    seeds = range(SEEDS)
    result = tn.compare(["random", "regularized-evolution"], [NEW], seeds=SEEDS, trials=NEW_TRIALS)
    space = spaces.get("nasbench201")
    priors = []
    earlier = {task: Table(tasks.get(task)).rewards() for task in EARLIER}
    asked = {
        task: strategies.replicate(
            "regularized-evolution", space, rewards, list(seeds), EARLIER_TRIALS
        )
        for task, rewards in earlier.items()
    }
    for seed in seeds:
        sources = [
            SourceTask(
                task, [space.at(int(i)) for i in asked[task][seed]], rewards[asked[task][seed]]
            )
            for task, rewards in earlier.items()
        ]
        priors.append(learn(sources, space))
    table = Table(tasks.get(NEW))
    rewards = table.rewards()
    queries = replicate_transfer(space, rewards, list(seeds), NEW_TRIALS, priors)
    best = np.maximum.accumulate(rewards[queries], axis=1)
    cost = table.seconds()[queries].sum(axis=1)
    return result.with_arm(NEW, "learning from earlier studies", best, cost)


def main(folder: Path) -> None:
    start = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    storage = f"sqlite:///{folder / 'studies.db'}"
    studies = [search_digits(storage, folder), *search_tables(storage)]
    comparison = compare_on_new()
    print(comparison.table())
    page = write_report(studies, folder / "report.html", "Demo", comparisons=[comparison])
    print(f"{page} written after {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
