"""`search`: runs or resumes a study."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from transnas._errors import InputError
from transnas.evaluation import Evaluator, Objective
from transnas.spaces import Space
from transnas.strategies import Strategy
from transnas.studies._definition import Definition, default_name, environment, require_name
from transnas.studies._executors import Executor
from transnas.studies._history import replayed
from transnas.studies._loop import Loop
from transnas.studies._plan import Plan, make_plan
from transnas.studies._progress import Progress
from transnas.studies._signals import handled
from transnas.studies._storage import Store, folder_beside, open_store
from transnas.studies._study import Study, study_of
from transnas.studies._trial import Codec
from transnas.studies._workers import Workers
from transnas.studies._writer import Writer
from transnas.studies.sources import SourceStudy, recorded_sources, sources
from transnas.tasks import Task

__all__ = ["search"]


def search(
    task: str | Path | Task,
    space: str | Space | None = None,
    strategy: str | None = None,
    trials: int | None = None,
    *,
    storage: str = "sqlite:///transnas.db",
    name: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    workers: int | str = 1,
    objectives: Sequence[Objective | str] | Objective | str | None = None,
    learn_from: Sequence[str] | str = (),
    learn_except: Callable[[SourceStudy], bool] | None = None,
    prior: str | Path | None = None,
    evaluator: Evaluator | None = None,
    timeout: float | None = None,
    retries: int = 1,
    settings: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    command: str | None = None,
) -> Study:
    """Search `space` for good architectures for `task`, until the study has `trials` trials.

    The study is kept in `storage`, trial by trial. The same call continues a study that was
    interrupted, returns a finished one at once, and with a greater `trials` goes on searching.

    Args:
        task: A built-in name, a folder or file of data, or a `Task`.
        space: A name or a `Space`; default: the task's own, else NAS-Bench-201.
        strategy: A registered name; default: `regularized-evolution`, or `store-transfer` with
            `learn_from`, or the one that `prior` is for.
        trials: How many trials the study is to have in all, failed ones included; default: 30,
            or one for methods that train one supernet, whose trial is a whole search.
        storage: `sqlite:///file.db`, `postgresql://...`, `journal:///file.log` or `memory://`.
        name: The study's name; default: made from task, space, strategy, seed and epochs.
        epochs: Budget of an evaluation; default: the evaluator's.
        seed: Seed of the strategy and of every evaluation; one worker repeats exactly.
        workers: 1: in this process; n: in n processes; "ray" or "ray:n": on a Ray cluster;
            "simulated:n": n workers on a virtual clock, for evaluators that state their cost.
        objectives: Metrics (text: maximised) or `Objective`s; default: the task's metric.
        learn_from: Storages whose studies on the same space the search learns from.
        learn_except: Says which of these studies to leave out; default: none. A study that is
            resumed learns from what it began with.
        prior: Folder of a prior that `learn` wrote; resuming needs one with the same contents.
        evaluator: How architectures are measured; default: the task's table, or training.
        timeout: Seconds, of the virtual clock if there is one, after which a trial is stopped and
            stored as failed.
        retries: How often a trial is tried again whose worker died.
        settings: Settings of the strategy by name.
        progress: Show progress; default: only on a terminal.
        command: The command line to record; default: this process's.

    Raises:
        InputError: Something given is not accepted; nothing was started or written.
        SearchError: The first trials all failed.
        StorageError: The storage stopped working; what was stored before is safe.
    """
    earlier = (learn_from,) if isinstance(learn_from, str) else tuple(learn_from)
    plan = make_plan(
        task, space, strategy, objectives, epochs, seed, settings, evaluator, earlier, prior, trials
    )
    trials = plan.trials
    places = Workers.parse(workers, timeout, retries)
    chosen = default_name(plan.definition, plan.own_space) if name is None else name
    require_name(chosen)
    shown = Progress(chosen, trials, plan.definition.objectives[0], progress)
    with open_store(storage, create=True) as store:
        try:
            run = _Run(store, storage, chosen, plan, learn_except)
            run.find_or_create(environment(command))
            if len(run.study.trials) < trials:
                work = plan.evaluator.keeping(folder_beside(storage, chosen))
                run.go(trials, lambda most: places.start(work, most), shown)
        except InputError:
            store.abandon()
            raise
    return run.study


class _Run:
    """One run of a study: finds or creates it, and brings it further."""

    study: Study

    def __init__(
        self,
        store: Store,
        storage: str,
        name: str,
        plan: Plan,
        learn_except: Callable[[SourceStudy], bool] | None,
    ) -> None:
        self._store = store
        self._storage = storage
        self._name = name
        self._plan = plan
        self._learn_except = learn_except
        self._found: list[SourceStudy] | None = None

    def find_or_create(self, info: dict[str, Any]) -> None:
        """Set `study` to the stored one; raises `InputError` if its definition is another."""
        store, plan = self._store, self._plan
        number = store.find(self._name)
        self._created = number is None
        if number is None:
            number = self._create(info)
        self._number = number
        attributes = store.attributes(number)
        stored = Definition.from_dict(attributes["definition"])
        stored.require(plan.definition, f"study {self._name!r} in {store.label}")
        self._codec = Codec(plan.space, stored.objectives)
        trials = [entry.trial for entry in store.read(number, self._codec)]
        self.study = study_of(self._name, self._storage, stored, plan.space, trials, attributes)

    def _create(self, info: dict[str, Any]) -> int:
        plan = self._plan
        objectives = plan.definition.objectives
        if plan.learn_from:
            self._found = sources(plan.learn_from, plan.space, objectives[0], self._learn_except)
            info = {**info, "learn_from": [source.record() for source in self._found]}
        attributes = {"definition": plan.definition.to_dict(), "info": info}
        return self._store.create(self._name, objectives, attributes)

    def _strategy(self) -> Callable[[], Strategy]:
        """Return what makes the strategy; a resumed study learns from what it learnt from first."""
        plan = self._plan
        if plan.learn_from and self._found is None:
            records = self.study.info["learn_from"]
            objective = plan.definition.objectives[0]
            self._found = recorded_sources(records, plan.learn_from, plan.space, objective)
        return plan.strategy(self._found or [])

    def go(self, trials: int, start: Callable[[int], Executor], progress: Progress) -> None:
        """Search until there are `trials` trials; Ctrl-C or SIGTERM end it in good order.

        `start` gets the most workers that are of use.
        """
        writer = Writer(self._store, self._number, self._codec)
        try:
            self._go(trials, start, progress, writer)
        except BaseException as error:
            # The first error is the one to report; what was told is still written.
            with suppress(Exception):
                writer.close()
            if isinstance(error, InputError) and self._created and not self.study.trials:
                self._store.discard(self._number)
            raise
        writer.close()
        progress.end(self.study)

    def _go(
        self,
        trials: int,
        start: Callable[[int], Executor],
        progress: Progress,
        writer: Writer,
    ) -> None:
        # Read under the lease: an earlier run may have written until a moment ago.
        entries = self._store.read(self._number, self._codec)
        self.study.trials[:] = [entry.trial for entry in entries]
        snapshot = self._store.snapshot(self._number)
        history = replayed(self._strategy(), self._plan.space, entries, snapshot)
        executor = start(max(1, trials - history.told))
        try:
            with progress.running(self.study), _terminate_as_interrupt():
                Loop(self.study, history, executor, writer, trials, progress.trial).run()
        except KeyboardInterrupt:
            self.study.interrupted = True
        finally:
            executor.close()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM (a scheduler's polite stop) end the search as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    with handled(signal.SIGTERM, interrupt):
        yield
