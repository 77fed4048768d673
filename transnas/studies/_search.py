"""`search`: checks what it is given, then runs or resumes a study."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from transnas import spaces, strategies, tasks
from transnas._errors import InputError
from transnas.evaluation import Evaluator, Objective
from transnas.spaces import Space
from transnas.strategies import Strategy
from transnas.strategies._base import settings_from
from transnas.studies._definition import Definition, default_name, environment
from transnas.studies._executors import Executor, InProcess
from transnas.studies._history import replayed
from transnas.studies._loop import Loop
from transnas.studies._progress import Progress
from transnas.studies._storage import Store, open_store
from transnas.studies._study import Study, study_of
from transnas.studies._trial import Codec
from transnas.studies._writer import Writer
from transnas.tasks import DataTask, TableTask, Task

__all__ = ["search"]

DEFAULT_STRATEGY = "regularized-evolution"
DEFAULT_SPACE = "nasbench201"


def search(
    task: str | Path | Task,
    space: str | Space | None = None,
    strategy: str = DEFAULT_STRATEGY,
    trials: int = 30,
    *,
    storage: str = "sqlite:///transnas.db",
    name: str | None = None,
    epochs: int | None = None,
    seed: int = 0,
    workers: int | str = 1,
    objectives: Sequence[Objective | str] | Objective | str | None = None,
    learn_from: Sequence[str] = (),
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
        strategy: A registered name; with `learn_from` the default is `store-transfer`.
        trials: How many trials the study is to have in all, failed ones included.
        storage: `sqlite:///file.db`, `postgresql://...`, `journal:///file.log` or `memory://`.
        name: The study's name; default: made from task, space, strategy, seed and epochs.
        epochs: Budget of an evaluation; default: the evaluator's.
        seed: Seed of the strategy and of every evaluation; one worker repeats exactly.
        workers: 1: in this process; n: in n processes; "ray" or "ray:n": on a Ray cluster;
            "simulated:n": n workers on a virtual clock, for evaluators that state their cost.
        objectives: Metrics (text: maximised) or `Objective`s; default: the task's metric.
        learn_from: Storages whose studies on the same space the search learns from.
        evaluator: How architectures are measured; default: the task's table, or training.
        timeout: Seconds after which a trial is stopped and stored as failed.
        retries: How often a trial is tried again whose worker died.
        settings: Settings of the strategy by name.
        progress: Show progress; default: only on a terminal.
        command: The command line to record; default: this process's.

    Raises:
        InputError: Something given is not accepted; nothing was started or written.
        SearchError: The first trials all failed.
        StorageError: The storage stopped working; what was stored before is safe.
    """
    plan = _plan(
        task, space, strategy, objectives, epochs, seed, settings, evaluator, tuple(learn_from)
    )
    for field, value in (("trials", trials), ("retries", retries + 1)):
        _require_positive(field, value)
    _workers(workers)
    if timeout is not None and not timeout > 0:
        raise InputError(f"timeout {timeout} is not accepted; accepted: seconds above 0")
    chosen = name or default_name(plan.definition, plan.own_space)
    shown = Progress(chosen, trials, plan.definition.objectives[0], progress)
    with open_store(storage, create=True) as store:
        study, number, created = _study(store, storage, chosen, plan, environment(command))
        if len(study.trials) >= trials:
            return study
        try:
            executor = _Executors(plan.evaluator, workers, timeout, retries)
            _run(store, number, study, plan, executor, trials, shown)
        except InputError:
            if created and not study.trials:
                store.discard(number)
            raise
    return study


# What is to be done --------------------------------------------------------------------------


@dataclass(frozen=True)
class _Plan:
    """A checked request: the definition, and the objects that it names."""

    definition: Definition
    space: Space
    evaluator: Evaluator
    strategy: Callable[[], Strategy]
    own_space: bool


def _plan(
    task: str | Path | Task,
    space: str | Space | None,
    strategy: str,
    objectives: Sequence[Objective | str] | Objective | str | None,
    epochs: int | None,
    seed: int,
    settings: Mapping[str, Any] | None,
    evaluator: Evaluator | None,
    learn_from: tuple[str, ...],
) -> _Plan:
    if epochs is not None:
        _require_positive("epochs", epochs)
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed {seed!r} is not accepted; accepted: 0 or a positive integer")
    cls = strategies.get(strategy)
    chosen_settings = settings_from(cls, dict(settings or {}))
    found = task if isinstance(task, Task) else tasks.get(str(task))
    chosen_space = _space(found, space)
    chosen_objectives = _objectives(found, objectives)
    chosen_evaluator = evaluator or _evaluator(found, chosen_space)

    def create() -> Strategy:
        return cls(chosen_space, seed, chosen_objectives, chosen_settings)

    create()  # refuses what the strategy cannot do, before anything is written
    definition = Definition(
        task=found.name,
        space=chosen_space.name,
        strategy=strategy,
        settings=asdict(chosen_settings),
        objectives=chosen_objectives,
        seed=seed,
        epochs=epochs,
        evaluator=type(chosen_evaluator).__name__,
        learn_from=learn_from,
    )
    own_space = isinstance(found, TableTask)
    return _Plan(definition, chosen_space, chosen_evaluator, create, own_space)


def _space(task: Task, space: str | Space | None) -> Space:
    own = task.space if isinstance(task, TableTask) else None
    chosen = spaces.get(space or own or DEFAULT_SPACE) if not isinstance(space, Space) else space
    if own and chosen.name != own:
        raise InputError(
            f"space {chosen.name!r} does not fit task {task.name!r}, which is a table; "
            f"accepted: {own}"
        )
    return chosen


def _objectives(
    task: Task, given: Sequence[Objective | str] | Objective | str | None
) -> tuple[Objective, ...]:
    if given is None:
        return (Objective(task.metric),)
    if isinstance(given, (str, Objective)):
        given = (given,)
    if not given:
        raise InputError("objectives are empty; accepted: one metric or more")
    chosen = tuple(Objective(o) if isinstance(o, str) else o for o in given)
    if len({o.metric for o in chosen}) < len(chosen):
        raise InputError("objectives name a metric twice; accepted: different metrics")
    return chosen


def _evaluator(task: Task, space: Space) -> Evaluator:
    if isinstance(task, TableTask):
        from transnas.evaluation.table import Table

        return Table(task)
    if isinstance(task, DataTask):
        from transnas.evaluation.training import Training

        return Training(task, space)
    raise InputError(
        f"task {task.name!r} has neither data nor a table; accepted: an evaluator beside it"
    )


def _require_positive(field: str, value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{field} {value!r} is not accepted; accepted: a positive integer")


@dataclass(frozen=True)
class _Executors:
    """How to run evaluations."""

    evaluator: Evaluator
    workers: int | str
    timeout: float | None
    retries: int

    def start(self, most: int) -> Executor:
        """Return the executor that `workers` names, with at most `most` workers."""
        where, count = _workers(self.workers)
        if where == "ray":
            from transnas.studies._ray import RayWorkers

            return RayWorkers(self.evaluator, count, most, self.timeout, self.retries)
        if where == "simulated":
            from transnas.studies._simulated import Simulated

            return Simulated(self.evaluator, min(count or 1, most))
        if count == 1:
            return InProcess(self.evaluator, self.timeout)
        from transnas.studies._processes import Processes

        return Processes(self.evaluator, min(count or 1, most), self.timeout, self.retries)


def _workers(given: int | str) -> tuple[str, int | None]:
    """Return where workers run (`local`, `ray`, `simulated`) and how many; None: all there are."""
    where, _, count = str(given).rpartition(":")
    if given == "ray":
        return "ray", None
    if where in ("", "ray", "simulated") and count.isdecimal() and int(count) > 0:
        return where or "local", int(count)
    raise InputError(
        f"workers {given!r} is not accepted; accepted: a positive integer, 'ray', 'ray:4' or "
        "'simulated:4'"
    )


# Doing it ------------------------------------------------------------------------------------


def _study(
    store: Store, storage: str, name: str, plan: _Plan, info: dict[str, Any]
) -> tuple[Study, int, bool]:
    """Find or create the study; return it with its number, and whether it was created."""
    number = store.find(name)
    created = number is None
    if number is None:
        attributes = {"definition": plan.definition.to_dict(), "info": info}
        number = store.create(name, plan.definition.objectives, attributes)
    attributes = store.attributes(number)
    stored = Definition.from_dict(attributes["definition"])
    stored.require(plan.definition, f"study {name!r} in {store.label}")
    entries = store.read(number, Codec(plan.space, stored.objectives))
    trials = [entry.trial for entry in entries]
    return study_of(name, storage, stored, plan.space, trials, attributes), number, created


def _run(
    store: Store,
    number: int,
    study: Study,
    plan: _Plan,
    executors: _Executors,
    trials: int,
    progress: Progress,
) -> None:
    """Run the study's loop; Ctrl-C or SIGTERM end it in good order."""
    codec = Codec(plan.space, study.objectives)
    writer = Writer(store, number, codec)
    try:
        # Under the lease: what an earlier run wrote last.
        entries = store.read(number, codec)
        study.trials[:] = [entry.trial for entry in entries]
        history = replayed(plan.strategy, plan.space, entries, store.snapshot(number))
        workers = executors.start(most=trials - history.told)
        try:
            with progress.running(study), _terminate_as_interrupt():
                Loop(study, history, workers, writer, trials, progress.trial).run()
        except KeyboardInterrupt:
            study.interrupted = True
        finally:
            workers.close()
    except BaseException:
        # The first error is the one to report; what was told is still written.
        with suppress(Exception):
            writer.close()
        raise
    writer.close()
    progress.end(study)


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Let SIGTERM (a scheduler's polite stop) end the search as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return

    def interrupt(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
