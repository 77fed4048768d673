"""Interleaved search and its baselines in pieces of minutes: what both GPU scripts do."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from _record import machine

from transnas.evaluation._kinds import kind_of
from transnas.evaluation.training import measure, workplace
from transnas.meta.interleaved import InterleaveSettings, Interleaving, checkpoint
from transnas.meta.interleaved.baselines import Problem, alone, summed
from transnas.meta.interleaved.phase2 import at_fixed, finished
from transnas.spaces import Architecture
from transnas.tasks import DataTask

ROWS = ("interleaved", "none", "post hoc", "separate", "joint")


class OutOfTime(Exception):
    """This call's time is over; the checkpoints are there."""


def parser(about: str) -> argparse.ArgumentParser:
    """Return the options that both scripts have."""
    made = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--row", choices=ROWS, default="interleaved")
    made.add_argument("--seed", type=int, default=0)
    made.add_argument("--minutes", type=float, default=9.0)
    made.add_argument("--out", type=Path, default=Path("runs"))
    made.add_argument("--device", default="auto")
    made.add_argument("--quick", action="store_true", help="tiny, to see on a CPU that it runs")
    return made


@dataclass
class Pieces:
    """One row of one seed; `run` goes on with it until it is done, or its time is over."""

    name: str
    problem: Problem
    row: str
    epochs: int
    """Of the networks of phase 2."""
    out: Path
    minutes: float

    def __post_init__(self) -> None:
        self._until = time.monotonic() + 60 * self.minutes
        self._folder = self.out / f"{self.name}-{self.row.replace(' ', '-')}-{self.problem.seed}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path = self._folder / "result.json"
        self.result: dict[str, Any] = {"machine": machine(), "searches": [], "tasks": {}}
        if self._path.exists():
            self.result = json.loads(self._path.read_text())

    def run(self) -> int:
        """Return 0 when all is done, 3 when the same command is to be called again."""
        try:
            for i, (tasks, settings) in enumerate(self._searches()):
                if i == len(self.result["searches"]):
                    self._search(i, tasks, settings)
            for task in self.problem.tasks:
                if task.name not in self.result["tasks"]:
                    self._train(task)
        except OutOfTime:
            print("stopped in time; the same command goes on")
            return 3
        print(json.dumps(self.result["tasks"], indent=1), self._path, sep="\n")
        return 0

    def _searches(self) -> list[tuple[Sequence[DataTask], InterleaveSettings]]:
        """Return what the row searches: one search of all tasks, or one of each."""
        p, s = self.problem, self.problem.settings
        changed: Mapping[str, Callable[[], InterleaveSettings]] = {
            "interleaved": lambda: s,
            "none": lambda: replace(s, preset="none", transfer_weight=0.0),
            "post hoc": lambda: replace(s, alpha_schedule="posthoc", warmup=0.0),
            "joint": lambda: summed(s),
        }
        if self.row == "separate":
            return [([task], alone(p, 1)) for task in p.tasks]
        return [(p.tasks, changed[self.row]())]

    def _search(self, i: int, tasks: Sequence[DataTask], settings: InterleaveSettings) -> None:
        p = self.problem
        search = Interleaving(
            tasks, p.space, settings, skeleton=p.skeleton, seed=p.seed, device=p.device
        )
        self._advance(search, self._folder / f"search-{i}")
        self.result["searches"].append(
            {
                "tasks": [t.name for t in tasks],
                "architecture": p.space.to_text(search.derive()),
                "cost": asdict(search.cost),
                "parameters": search.parameters(),
                "curves": search.history.points,
                "events": search.history.events,
            }
        )
        self._write()

    def _train(self, task: DataTask) -> None:
        """Train the task's network by itself from new weights, and look at test data once."""
        p, arch = self.problem, self._architecture(task)
        recipe = kind_of(task.kind).recipe
        settings = at_fixed(InterleaveSettings(preset="none"), recipe, self.epochs)
        search = Interleaving(
            [task], p.space, settings, skeleton=p.final_skeleton, architecture=arch,
            seed=p.seed, device=p.device,
        )  # fmt: skip
        self._advance(search, self._folder / f"network-{p.tasks.index(task)}")
        (trained,) = finished(search)
        at, metrics = workplace("cpu", "32-true"), dict(trained.metrics)
        if task.has_test:
            looked = task.final_test(
                p.space.to_text(arch),
                lambda split: measure(trained.network, split, at, task.kind),
            )
            metrics |= {f"test_{k}": v for k, v in looked.metrics.items()}
        self.result["tasks"][task.name] = {"metrics": metrics, "seconds": trained.seconds}
        self._write()

    def _architecture(self, task: DataTask) -> Architecture:
        for search in self.result["searches"]:
            if task.name in search["tasks"]:
                return self.problem.space.from_text(search["architecture"])
        raise AssertionError(task.name)

    def _advance(self, search: Interleaving, folder: Path) -> None:
        """Run `search` from its checkpoint; save it and raise `OutOfTime` when time is over."""
        if checkpoint.exists(folder):
            search.restore(checkpoint.load(folder, search.space, search.definition()))
        shown = time.monotonic()

        def over() -> bool:
            nonlocal shown
            if time.monotonic() - shown > 30:
                print(f"{folder.name}: {search.iteration}/{search.iterations}", flush=True)
                shown = time.monotonic()
            return time.monotonic() > self._until and search.resumable

        done = search.run(stop=over)
        if done and checkpoint.exists(folder):
            return
        checkpoint.save(folder, search.space, search.definition(), search.state())
        if not done:
            raise OutOfTime

    def _write(self) -> None:
        self._path.write_text(json.dumps(self.result, indent=1) + "\n")
