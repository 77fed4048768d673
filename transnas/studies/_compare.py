"""`compare`: methods x tasks x seeds at equal budget."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from transnas import spaces, strategies, tasks
from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.evaluation.table import Table
from transnas.strategies import Strategy
from transnas.strategies._replicates import require_one_budget
from transnas.studies import _methods
from transnas.studies._comparison import Comparison, arm
from transnas.studies._definition import environment, may_be_of, require_name
from transnas.studies._plan import (
    LEARNING_STRATEGY,
    by_task,
    default_space,
    make_plan,
    with_learnt,
)
from transnas.studies._search import search
from transnas.studies._settings import method_and_settings
from transnas.studies._statistics import Floats, expected_best
from transnas.studies._storage import label_of
from transnas.studies._workers import Workers
from transnas.studies.sources import SourceStudy, sources
from transnas.tasks import TableTask, Task

__all__ = ["compare"]


def compare(
    methods: Sequence[str],
    on: Sequence[str | Path | Task],
    seeds: int | Sequence[int] = 20,
    trials: int = 50,
    *,
    space: str | None = None,
    epochs: int | None = None,
    objective: Objective | str | None = None,
    learn_from: Sequence[str] = (),
    storage: str = "sqlite:///transnas.db",
    workers: int | str = 1,
    progress: bool | None = None,
    command: str | None = None,
) -> Comparison:
    """Run `methods` on the tasks `on` with every seed and the same number of trials.

    On tables all seeds run together (`strategies.replicate`). Elsewhere each seed is a study of
    its own in `storage`, named `compare-...`, so that the same call continues after a stop.

    Args:
        methods: Strategy names, with settings as `name:key=value,...`; the first is the baseline.
        on: Tasks, as for `search`.
        seeds: How many seeds (0, 1, ...), or which.
        trials: Architectures measured by each method, failed ones included.
        space: As for `search`.
        epochs: Budget of an evaluation.
        objective: The metric; default: the first task's own.
        learn_from: Storages from which `store-transfer` learns. It never learns from studies of
            the task that it is compared on, nor from those of this comparison.
        storage: Where studies of tasks without table are kept.
        workers: As for `search`; tables need none.
        progress: As for `search`.
        command: The command line to record; default: this process's.

    Raises:
        InputError: Something given is not accepted; nothing was started or written.
    """
    learn_from = tuple(learn_from)
    Workers.parse(workers, timeout=None, retries=1)
    request = _checked(methods, on, seeds, trials, space, epochs, objective, learn_from)
    arms = []
    for task in request.tasks:
        for method in request.methods:
            best, seconds = (
                _on_table(request, task, method)
                if isinstance(task, TableTask)
                else _on_studies(request, task, method, storage, workers, progress)
            )
            arms.append(arm(task.name, method, best, seconds))
    return Comparison(
        metric=request.objective.metric,
        maximise=request.objective.maximise,
        epochs=epochs,
        trials=trials,
        seeds=request.seeds,
        arms=tuple(arms),
        info={
            **environment(command),
            "commit": _commit(),
            "learn_from": [label_of(url) for url in learn_from],
        },
        chance={t.name: _chance(request, t) for t in request.tasks if isinstance(t, TableTask)},
    )


@dataclass(frozen=True)
class _Request:
    """A checked request."""

    methods: tuple[str, ...]
    tasks: tuple[Task, ...]
    seeds: tuple[int, ...]
    trials: int
    space: str | None
    epochs: int | None
    objective: Objective
    learn_from: tuple[str, ...]

    def learns(self, method: str) -> bool:
        """Return whether `method` learns from earlier studies here."""
        return bool(self.learn_from) and method == LEARNING_STRATEGY

    def learn_except(self, task: Task) -> Callable[[SourceStudy], bool]:
        """Return which studies an arm on `task` must not know: of the task, or of another arm."""
        arms = {
            _study_name(of, method, seed)
            for of in self.tasks
            for method in self.methods
            for seed in self.seeds
        }
        return lambda source: may_be_of(source.task, source.data, task) or source.study in arms


def _study_name(task: Task, method: str, seed: int) -> str:
    """Return the name of the study of one seed of an arm."""
    return f"compare-{task.name}-{method}-seed{seed}"


def _checked(
    methods: Sequence[str],
    on: Sequence[str | Path | Task],
    seeds: int | Sequence[int],
    trials: int,
    space: str | None,
    epochs: int | None,
    objective: Objective | str | None,
    learn_from: tuple[str, ...],
) -> _Request:
    for field, given in (("methods", methods), ("tasks", on)):
        if not given:
            raise InputError(f"{field} are empty; accepted: one or more")
        if len({str(g) for g in given}) < len(given):
            raise InputError(f"{field} name one twice; accepted: different {field}")
    for method in methods:
        method_and_settings(method)
    check_whole("trials", trials, 1)
    chosen = tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)
    if not chosen or min(chosen) < 0:
        raise InputError(f"seeds {seeds} are not accepted; accepted: 1 or more, none negative")
    if len(set(chosen)) < len(chosen):
        raise InputError(f"seeds {list(chosen)} name one twice; accepted: different seeds")
    found = tuple(t if isinstance(t, Task) else tasks.get(str(t)) for t in on)
    names = [task.name for task in found]
    if len(set(names)) < len(names):
        raise InputError(
            f"tasks have the names {', '.join(names)}; accepted: different names, by which the "
            "comparison tells them apart"
        )
    if objective is None or isinstance(objective, str):
        objective = Objective(objective or found[0].metric)
    for task in found:
        if isinstance(task, TableTask):
            _refuse_oneshot(methods, task)
            if space not in (None, task.space):
                raise InputError(
                    f"space {space!r} does not fit task {task.name!r}; accepted: {task.space}"
                )
            Table(task).rewards(objective.metric, epochs)
    if space is not None:
        spaces.get(space)
    if learn_from and LEARNING_STRATEGY not in methods:
        raise InputError(
            f"learn from {', '.join(learn_from)} is of no use to {', '.join(methods)}; "
            f"accepted: with the method {LEARNING_STRATEGY}"
        )
    request = _Request(tuple(methods), found, chosen, trials, space, epochs, objective, learn_from)
    for task in found:
        if learn_from:
            _sources(request, task)
        for method in methods:
            _check_arm(request, task, method)
    return request


def _check_arm(request: _Request, task: Task, method: str) -> None:
    """Raise `InputError` unless `method` can search `task`, before any other arm has run."""
    name, settings = method_and_settings(method)
    plan = make_plan(
        task,
        request.space,
        name,
        request.objective,
        request.epochs,
        request.seeds[0],
        settings,
        None,
        request.learn_from if request.learns(method) else (),
    )
    if isinstance(task, TableTask):
        require_one_budget(name, plan.create())
    else:
        require_name(_study_name(task, method, max(request.seeds)))


def _refuse_oneshot(methods: Sequence[str], task: TableTask) -> None:
    """Raise `InputError` for a method that needs data where there is only a table."""
    for method in methods:
        if not issubclass(_methods.get(method.partition(":")[0]), Strategy):
            raise InputError(
                f"method {method!r} trains a supernet, and task {task.name!r} is a table; "
                "accepted: a task with data"
            )


def _sources(request: _Request, task: Task) -> list[SourceStudy]:
    """Return the earlier studies that a search of `task` may learn from, of other tasks only."""
    own = task.space if isinstance(task, TableTask) else (request.space or default_space(task))
    return sources(
        request.learn_from, spaces.get(own), request.objective, request.learn_except(task)
    )


def _on_table(request: _Request, task: TableTask, method: str) -> tuple[Floats, Floats]:
    """Return best values so far [seeds, trials] and costs [seeds] from the task's table."""
    table = Table(task)
    values = table.rewards(request.objective.metric, request.epochs)
    sign = 1.0 if request.objective.maximise else -1.0
    asked = _asked(request, task, method, sign * values)
    # An exhausted strategy asks -1: it finds nothing more and pays nothing more.
    queried = asked >= 0
    rewards = np.where(queried, sign * values[asked], np.nan)
    cost = np.where(queried, table.seconds(request.epochs)[asked], 0.0)
    return sign * _running_best(rewards), cost.sum(axis=1)


def _chance(request: _Request, task: TableTask) -> float:
    """Return the exact expected best value of as many random architectures of the table."""
    values = Table(task).rewards(request.objective.metric, request.epochs)
    sign = 1.0 if request.objective.maximise else -1.0
    return sign * expected_best(sign * values, request.trials)


def _asked(
    request: _Request, task: TableTask, method: str, rewards: Floats
) -> npt.NDArray[np.int64]:
    """Return the `space.index` of each query, [seeds, trials]; -1 where there was none."""
    space, seeds, trials = spaces.get(task.space), request.seeds, request.trials
    if not request.learns(method):
        name, settings = method_and_settings(method)
        settings = with_learnt(name, settings, space)
        return strategies.replicate(name, space, rewards, seeds, trials, **settings)
    from transnas.meta.store import learn, replicate_transfer

    prior = learn(by_task(_sources(request, task)), space)
    return replicate_transfer(space, rewards, seeds, trials, [prior] * len(seeds))


def _on_studies(
    request: _Request,
    task: Task,
    method: str,
    storage: str,
    workers: int | str,
    progress: bool | None,
) -> tuple[Floats, Floats]:
    """Return best values so far [seeds, trials] and costs [seeds] from a study a seed."""
    name, settings = method_and_settings(method)
    sign = 1.0 if request.objective.maximise else -1.0
    rewards = np.full((len(request.seeds), request.trials), np.nan)
    seconds = np.zeros(len(request.seeds))
    for row, seed in enumerate(request.seeds):
        study = search(
            task,
            request.space,
            name,
            request.trials,
            storage=storage,
            name=_study_name(task, method, seed),
            epochs=request.epochs,
            seed=seed,
            workers=workers,
            objectives=request.objective,
            learn_from=request.learn_from if request.learns(method) else (),
            learn_except=request.learn_except(task),
            settings=settings,
            progress=progress,
        )
        if study.interrupted:
            raise KeyboardInterrupt
        # A study that was continued beyond this budget counts only up to it.
        rewards[row, : len(study.trials)] = study.rewards()[: request.trials]
        seconds[row] = sum(t.measurement.cost.seconds for t in study.trials[: request.trials])
    return sign * _running_best(rewards), seconds


def _running_best(rewards: Floats) -> Floats:
    """Return the best reward so far along the last axis; NaN before the first."""
    return np.asarray(np.fmax.accumulate(rewards, axis=1))


def _commit() -> str:
    """Return the commit of the source tree that this code runs from; empty if it is none."""
    folder = Path(__file__).parent
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
