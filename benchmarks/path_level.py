"""Path-level transformation with inherited weights against training from scratch, on digits.

    python benchmarks/path_level.py [--seeds 5] [--trials 16]

Both sides run the strategy `path-level` (random transformations of the best) with the same seeds
and two epochs a trial; one starts each network with its parent's weights, the other with random
ones. The result is the validation accuracy of the best trial, and that of the architecture found
when it is trained from scratch for 12 epochs. Writes benchmarks/results/path-level.json and
docs/results/path-level.md; goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _record import RESULTS, write_result
from scipy.stats import t

from transnas import tasks
from transnas.evaluation import Inheriting, Objective, Recipe, Training
from transnas.spaces.path_level import PathLevel
from transnas.strategies import create

PAGE = Path(__file__).parents[1] / "docs" / "results" / "path-level.md"
SKELETON = {"channels": 8}
EPOCHS, ALONE = 2, 12
RECIPE = replace(Recipe(), augment=False)
SIDES = ("inherited", "from scratch")
Row = dict[str, Any]


def run(side: str, seed: int, trials: int) -> Row:
    """Return the best accuracy so far after each trial, and what the winner reaches alone."""
    space, task = PathLevel(), tasks.get("digits")
    training = Training(task, space, RECIPE, "cpu", SKELETON)
    evaluator = Inheriting.of(training) if side == "inherited" else training
    strategy = create("path-level", space, seed, (Objective(),))
    best, winner, found = 0.0, space.at(0), []
    for trial in range(trials):
        arch = strategy.ask()
        measured = evaluator.evaluate(arch, EPOCHS, 1000 * seed + trial)
        strategy.tell(arch, measured)
        accuracy = measured.metrics.get("validation_accuracy", 0.0)
        if accuracy > best:
            best, winner = accuracy, arch
        found.append(best)
    alone = training.evaluate(winner, ALONE, seed)
    return {"best": found, "winner": space.to_text(winner),
            "alone": alone.metrics["validation_accuracy"]}  # fmt: skip


def interval(values: np.ndarray) -> str:
    """Return mean and 95% interval (Student's t), in percent."""
    half = t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{100 * values.mean():.2f} ± {100 * half:.2f}"


def page(result: dict[str, Any]) -> str:
    """Return the page of results."""
    rows, machine = result["rows"], result["machine"]
    table = []
    differences = {}
    for name, value in (("best trial", lambda r: r["best"][-1]), ("alone", lambda r: r["alone"])):
        sides = [np.array([value(row[side]) for row in rows]) for side in SIDES]
        differences[name] = interval(sides[0] - sides[1])
        table.append(f"| {name} | {' | '.join(map(interval, sides))} | {differences[name]} |")
    checks = [k for k in (1, 2, 4, 8, 16) if k <= result["trials"]]
    for k in checks[:-1]:
        sides = [np.array([row[side]["best"][k - 1] for row in rows]) for side in SIDES]
        cells = " | ".join(map(interval, sides))
        table.insert(-2, f"| best of {k} | {cells} | {interval(sides[0] - sides[1])} |")
    return f"""# Path-level transformation on digits

`python benchmarks/path_level.py`: strategy `path-level` in the space `path-level` (cells of
{SKELETON["channels"]} channels, one a stage), {result["trials"]} trials of {EPOCHS} epochs,
{len(rows)} paired seeds. One side begins each network with the weights of the one that it was
transformed from, as `transnas search --space path-level --strategy path-level` does; the other
begins anew. Validation accuracy (%), 95% intervals. The last row trains the architecture that was
found from scratch for {ALONE} epochs.

Processor: {machine["processor"]}, one thread, shared with other work; commit {machine["commit"]},
{machine["date"]}.

| | inherited weights | from scratch | difference |
| --- | --- | --- | --- |
{chr(10).join(table)}

A trial with inherited weights has behind it the epochs of all its ancestors, up to seven times
those of a trial from scratch, which is what inheritance is for: the search pays two epochs for
each. The last row says whether the architectures themselves are better.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=16)
    given = parser.parse_args()
    torch.set_num_threads(1)
    stored = RESULTS / "path-level.json"
    rows: list[dict[str, Row]] = json.loads(stored.read_text())["rows"] if stored.exists() else []
    for seed in range(len(rows), given.seeds):
        rows.append({side: run(side, seed, given.trials) for side in SIDES})
        last = {side: (row["best"][-1], row["alone"]) for side, row in rows[-1].items()}
        print(seed, last, flush=True)
        path = write_result("path-level", {"trials": given.trials, "rows": rows})
        if len(rows) > 1:
            PAGE.write_text(page(json.loads(path.read_text())), encoding="utf-8")


if __name__ == "__main__":
    main()
