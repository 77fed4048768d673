"""`interleave`: one architecture for several tasks, a trained network of each, and a record."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from transnas import spaces, tasks
from transnas._checks import check_whole
from transnas._errors import InputError, unknown
from transnas.evaluation._kinds import kind_of
from transnas.evaluation.training import measure, workplace
from transnas.meta.interleaved import InterleaveSettings, Interleaving, checkpoint
from transnas.meta.interleaved.baselines import BASELINES, Found, Problem, check_baselines
from transnas.meta.interleaved.kinds import kinds
from transnas.meta.interleaved.phase2 import train_separately
from transnas.spaces import Architecture, Space
from transnas.studies._definition import environment
from transnas.studies._learning import Learning
from transnas.studies._plan import DEFAULT_SPACE
from transnas.studies._whole import require_folder, write_whole
from transnas.studies.export import describe, export
from transnas.tasks import DataTask, Task

__all__ = ["interleave"]

RESULT, CHECKPOINT, NETWORKS, REPORT = "result.json", "checkpoint", "networks", "report.html"
MAIN = "interleaved"
"""Name of the method itself in the record, beside its baselines."""
SAVE_EVERY = 10.0
"""Seconds between two checkpoints of the search."""


def interleave(
    tasks: Sequence[str | Path | Task],
    *,
    out: str | Path,
    space: str | Space | None = None,
    preset: str = "joint",
    method: str = "darts",
    rounds: int = 2,
    iterations: int | None = None,
    epochs: int = 12,
    baselines: bool = False,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    progress: bool | None = None,
    command: str | None = None,
) -> dict[str, Any]:
    """Search one architecture for all `tasks` in turn, then train each task's network of it.

    The record is returned and written to `result.json` in the folder `out`, whole after each step:
    of each method the architecture, cost and, for each task, metrics (with the one recorded look
    at its test data), learning curve and seconds; the search's curves; and the environment.
    `out/networks/TASK` holds the trained networks, `out/report.html` draws it all. The same call
    goes on where one was interrupted.

    Args:
        tasks: Two or more tasks with data, as for `search`: classification, detection and
            segmentation, also mixed.
        out: Folder for the record, the checkpoint and the networks.
        space: The space to search; default: NAS-Bench-201.
        preset: What is transferred from task to task (`meta.interleaved.PRESETS`).
        method: How logits become edge weights (`meta.interleaved.METHODS`).
        rounds: M, visits of each task in an outer iteration.
        iterations: T, outer iterations; default: those of the setting `epochs`.
        epochs: Epochs of each network's training after the search.
        baselines: Also run all baselines, at the same number of images.
        seed: Seed of everything that is drawn.
        settings: Other fields of `InterleaveSettings` by name.
        device: Where networks are trained.
        progress: Show progress; default: only on a terminal.
        command: The command, for the record; default: the process's.

    Raises:
        InputError: Something given is not accepted, before any work.
        Stopped: A loss was not finite.
    """
    check_whole("seed", seed, 0)
    check_whole("epochs", epochs, 1)
    own = {"preset": preset, "method": method, "rounds": rounds, "iterations": iterations}
    chosen = _settings(own, settings or {})
    place = space if isinstance(space, Space) else spaces.get(space or DEFAULT_SPACE)
    folder = require_folder(out)
    search = Interleaving(_tasks(tasks), place, chosen, seed=seed, device=device)
    if baselines:
        check_baselines(search.tasks, place)
    run = _Run(search, folder, epochs, device, progress, command)
    run.find(MAIN, run.search)
    for name in BASELINES if baselines else ():
        run.find(name, lambda name=name: run.baseline(name))  # type: ignore[misc]
    for name in list(run.record["methods"]):
        run.train(name)
    run.draw()
    return run.record


def _settings(own: Mapping[str, Any], more: Mapping[str, Any]) -> InterleaveSettings:
    for name in more:
        if name in own:
            raise InputError(f"setting {name!r} is an option of its own; accepted: that option")
        if name not in InterleaveSettings.names():
            known = [n for n in InterleaveSettings.names() if n not in own]
            raise unknown("setting of interleaved search", name, known)
    return InterleaveSettings(**own, **more)


def _tasks(given: Sequence[str | Path | Task]) -> list[DataTask]:
    """Return the tasks; raises `InputError` unless they are two or more with data."""
    if len(given) < 2:
        named = ", ".join(t.name if isinstance(t, Task) else str(t) for t in given)
        raise InputError(f"tasks are {named or 'none'}; accepted: two or more")
    found = []
    for task in (t if isinstance(t, Task) else tasks.get(str(t)) for t in given):
        if not isinstance(task, DataTask):
            raise InputError(f"task {task.name!r} has no data to train on; accepted: one with data")
        if task.kind in kinds():
            kind_of(task.kind).require()
        found.append(task)
    return found


class _Run:
    """One call: what is in the record already is not done again."""

    def __init__(
        self,
        search: Interleaving,
        folder: Path,
        epochs: int,
        device: str,
        shown: bool | None,
        command: str | None,
    ) -> None:
        self._search, self._folder, self._epochs = search, folder, epochs
        self._device, self._shown = device, shown
        images = {t.name: [len(t.train), len(t.validation)] for t in search.tasks}  # type: ignore[arg-type]
        definition = {**search.definition(), "images": images, "training epochs": epochs}
        self._definition = json.loads(json.dumps(definition))
        self.record = self._earlier() or {
            "format": 1,
            "definition": self._definition,
            "environment": {**environment(command), "device": search.device.type},
            "methods": {},
        }

    def _earlier(self) -> dict[str, Any] | None:
        """Return the record of an interrupted call; raises `InputError` for that of another one."""
        path = self._folder / RESULT
        if not path.exists():
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            stored = dict(found["definition"])
            dict(found["methods"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{str(path)!r} is not readable; accepted: a record of transnas interleave, or "
                "another folder"
            ) from error
        for key in sorted({*stored, *self._definition}):
            if stored.get(key) != self._definition.get(key):
                raise InputError(
                    f"{key} is {self._definition.get(key)!r} and {stored.get(key)!r} in "
                    f"{str(path)!r}; accepted: the same, or another folder"
                )
        return found

    def _write(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / RESULT, json.dumps(self.record, indent=1) + "\n")

    def draw(self) -> None:
        """Write the page that shows the record."""
        from transnas.studies.report._interleaved import interleaved_html

        write_whole(self._folder / REPORT, interleaved_html(self.record, self._search.space))

    # Phase 1 ------------------------------------------------------------------------------------

    def find(self, name: str, decide: Callable[[], Found]) -> None:
        """Record what the method `name` decides."""
        if name in self.record["methods"]:
            return
        found, search = decide(), self._search
        texts = [search.space.to_text(a) for a in found.architectures]
        self.record["methods"][name] = {
            "architectures": dict(zip([t.name for t in search.tasks], texts, strict=True)),
            "skeleton": dict(found.skeleton or search.skeleton),
            "cost": asdict(found.cost),
            "tasks": {},
        }
        self._write()

    def search(self) -> Found:
        """Search to the end, from the checkpoint if there is one."""
        search, folder = self._search, self._folder / CHECKPOINT
        if checkpoint.exists(folder):
            search.restore(checkpoint.load(folder, search.space, search.definition()))
        saved = time.monotonic()
        with Learning(MAIN, search.iterations, self._shown, "iterations") as line:

            def after_a_stage() -> bool:
                nonlocal saved
                if search.position == 0:
                    line.at(search.iteration)
                if search.resumable and time.monotonic() - saved >= SAVE_EVERY:
                    checkpoint.save(folder, search.space, search.definition(), search.state())
                    saved = time.monotonic()
                return False

            search.run(stop=after_a_stage)
        self.record["curves"] = search.history.points
        self.record["events"] = search.history.events
        self.record["parameters"] = search.parameters()
        architectures = [search.derive(k) for k in range(len(search.tasks))]
        return Found(architectures, search.cost, None, [search])

    def baseline(self, name: str) -> Found:
        """Return what a baseline decides at the cost of the search."""
        s = self._search
        problem = Problem(
            s.tasks, s.space, s.settings, s.skeleton, s.skeleton, s.seed, self._device
        )
        with Learning(name, 1, self._shown, "baseline searches") as line:
            found = BASELINES[name](problem, self._architecture(MAIN, s.tasks[0]))
            line.at(1)
        return found

    def _architecture(self, method: str, task: DataTask) -> Architecture:
        text = self.record["methods"][method]["architectures"][task.name]
        return self._search.space.from_text(text)

    # Phase 2 ------------------------------------------------------------------------------------

    def train(self, method: str) -> None:
        """Train and test the networks of a method that are not in the record."""
        done = self.record["methods"][method]["tasks"]
        for task in self._search.tasks:
            if task.name not in done:
                done[task.name] = self._known(method, task) or self._trained(method, task)
                self._write()

    def _known(self, method: str, task: DataTask) -> dict[str, Any] | None:
        """Return what another method's equal network gave: it is trained and tested once."""
        methods = self.record["methods"]
        mine = methods[method]
        for other in methods.values():
            same = other["architectures"][task.name] == mine["architectures"][task.name]
            if same and other["skeleton"] == mine["skeleton"] and task.name in other["tasks"]:
                known: dict[str, Any] = other["tasks"][task.name]
                return known
        return None

    def _trained(self, method: str, task: DataTask) -> dict[str, Any]:
        arch = self._architecture(method, task)
        skeleton = self.record["methods"][method]["skeleton"]
        with Learning(f"{method} on {task.name}", self._epochs, self._shown, "epochs") as line:
            trained = train_separately(
                task, self._search.space, arch, skeleton, None, self._epochs,
                self._search.seed, self._device, lambda epoch, metrics: line.at(epoch),
            )  # fmt: skip
        metrics, at = dict(trained.metrics), workplace("cpu", "32-true")
        tested = None
        if task.has_test:
            final = task.final_test(
                self._search.space.to_text(arch),
                lambda split: {
                    f"test_{name}": value
                    for name, value in measure(trained.network, split, at, task.kind).items()
                },
            )
            metrics |= final.metrics
            tested = final.at
        if method == MAIN:
            files = self._folder / NETWORKS / task.name
            about = {**describe(task), "metrics": metrics, "final_test": tested}
            export(trained.network, task.signature, files, ["safetensors"], about)
        return {
            "metrics": metrics,
            "tested": tested,
            "seconds": trained.seconds,
            "curve": [dict(point) for point in trained.curve],
        }
