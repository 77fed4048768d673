"""`learn`: makes a prior from earlier tasks; `adapt`: searches a new task with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transnas import spaces, tasks
from transnas._errors import InputError, unknown
from transnas.evaluation import Objective
from transnas.meta import Prior
from transnas.spaces import Space
from transnas.strategies._base import settings_from
from transnas.studies._plan import DEFAULT_SPACE, by_task, require_positive
from transnas.studies._search import search
from transnas.studies._study import Study
from transnas.studies._whole import require_folder
from transnas.studies.sources import sources
from transnas.tasks import DataTask, TableTask, Task

if TYPE_CHECKING:
    from transnas.meta.store import SourceTask, StorePrior

__all__ = ["adapt", "learn"]

CHECKPOINT = "checkpoint"
"""Folder beside the prior from which an interrupted meta-training goes on."""


@dataclass(frozen=True)
class _Request:
    """What `learn` was asked for, checked as far as every method needs."""

    tasks: tuple[str | Path | Task, ...]
    storages: tuple[str, ...]
    space: Space
    out: Path
    seed: int
    rounds: int
    queries: int
    epochs: int | None
    objective: Objective | None
    settings: Mapping[str, Any]
    progress: bool | None


def learn(
    method: str,
    tasks: Sequence[str | Path | Task] = (),
    storages: Sequence[str] | str = (),
    *,
    space: str | Space | None = None,
    out: str | Path,
    seed: int = 0,
    rounds: int = 25,
    queries: int = 20,
    epochs: int | None = None,
    objective: Objective | str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Prior:
    """Learn from earlier tasks, and save what was learnt as a prior in the folder `out`.

    `"store"` models the studies in `storages`, and `"catch+"` does with networks trained on all of
    them beside; `"catch"` meta-trains an agent on `tasks`, all tables of one space or all data
    sets, and goes on where it was interrupted when called again.

    Args:
        method: `"store"`, `"catch+"` or `"catch"`.
        tasks: At least two tasks to meta-train on, as for `search`.
        storages: Storages with earlier studies.
        space: The space to search later; default: NAS-Bench-201.
        out: Folder for the prior; an older prior in it is replaced once the new one is whole.
        seed: Seed of the meta-training.
        rounds: How many tasks are drawn in meta-training; more go on from an earlier call.
        queries: Architectures measured in each.
        epochs: Budget of an evaluation; default: the evaluator's.
        objective: What studies must have measured; default: validation accuracy.
        settings: Settings of meta-training (`CatchSettings`) by name.
        progress: Show progress; default: only on a terminal.

    Raises:
        InputError: Something given is not accepted; no prior was written.
        SearchError: No network of the first task could be measured.
    """
    if method not in _METHODS:
        raise unknown("method", method, _METHODS)
    if not isinstance(seed, int) or seed < 0:
        raise InputError(f"seed {seed!r} is not accepted; accepted: 0 or a positive integer")
    for field, value in (("rounds", rounds), ("queries", queries), ("epochs", epochs)):
        if value is not None:
            require_positive(field, value)
    request = _Request(
        tasks=tuple(tasks),
        storages=(storages,) if isinstance(storages, str) else tuple(storages),
        space=space if isinstance(space, Space) else spaces.get(space or DEFAULT_SPACE),
        out=require_folder(out),
        seed=seed,
        rounds=rounds,
        queries=queries,
        epochs=epochs,
        objective=Objective(objective) if isinstance(objective, str) else objective,
        settings=dict(settings or {}),
        progress=progress,
    )
    prior = _METHODS[method](request)
    prior.save(request.out)
    return prior


def adapt(prior: str | Path, task: str | Path | Task, trials: int = 50, **options: Any) -> Study:
    """Search a new task with a prior that `learn` wrote; `options` are those of `search`."""
    return search(task, trials=trials, prior=prior, **options)


def _store(request: _Request) -> Prior:
    _refuse("store", tasks=request.tasks, settings=request.settings)
    from transnas.meta.store import learn

    prior = learn(_studied("store", request), request.space)
    _require_structure(request, prior)
    return prior


def _catch_plus(request: _Request) -> Prior:
    _refuse("catch+", tasks=request.tasks)
    from transnas.meta.catch.plus import CatchPlus, CatchPlusSettings, learn_plus

    settings = settings_from(CatchPlus, dict(request.settings))
    assert isinstance(settings, CatchPlusSettings)
    prior = learn_plus(_studied("catch+", request), request.space, request.seed, settings)
    _require_structure(request, prior.store)
    return prior


def _studied(method: str, request: _Request) -> list[SourceTask]:
    """Return what the storages hold, one source a task."""
    if not request.storages:
        raise InputError(
            f"storages are empty; method {method!r} accepts: storages of earlier studies"
        )
    found = sources(request.storages, request.space, request.objective or Objective())
    return by_task(found)


def _require_structure(request: _Request, prior: StorePrior) -> None:
    if not any(source.weights.any() for source in prior.sources):
        raise InputError(
            f"learn from {', '.join(request.storages)} says nothing about which architectures are "
            "better; accepted: a study with 3 or more architectures of different rewards"
        )


def _catch(request: _Request) -> Prior:
    _refuse("catch", storages=request.storages, objective=request.objective)
    from transnas.meta.catch import CatchSettings, CatchStrategy, meta_train
    from transnas.studies._learning import Learning, Watched

    settings = settings_from(CatchStrategy, dict(request.settings))
    assert isinstance(settings, CatchSettings)
    if settings.prior:
        raise InputError("setting 'prior' is given; accepted: none, learning starts from scratch")
    if request.space.ranges:
        raise InputError(
            f"space {request.space.name!r} has number ranges; method 'catch' accepts: spaces of "
            "categorical choices"
        )
    total = request.rounds * request.queries
    with Learning(f"learning {request.out}", total, request.progress) as shown:
        family = Watched(_family(request), request.queries, shown.at)
        trained = meta_train(
            family,
            request.space,
            [request.seed],
            settings,
            request.rounds,
            request.queries,
            request.out / CHECKPOINT,
        )
    return trained.prior()


def _family(request: _Request) -> Any:
    """Return the family of the tasks: all tables, or all data sets."""
    from transnas.meta.catch import TableFamily, TrainedFamily

    found = [t if isinstance(t, Task) else tasks.get(str(t)) for t in request.tasks]
    names = [task.name for task in found]
    if len(set(names)) < 2 or len(set(names)) < len(names):
        raise InputError(
            f"tasks are {', '.join(names) or 'none'}; accepted: two or more different tasks, "
            "because what they share is what is learnt"
        )
    tables = [task for task in found if isinstance(task, TableTask)]
    data = [task for task in found if isinstance(task, DataTask)]
    if len(tables) == len(found):
        return TableFamily.of_tasks(tables, request.space, request.epochs)
    if len(data) == len(found):
        return TrainedFamily(data, request.space, request.epochs)
    raise InputError(
        f"tasks {', '.join(names)} are of several kinds; accepted: all tables or all data sets"
    )


def _refuse(method: str, **given: Any) -> None:
    for field, value in given.items():
        if value:
            raise InputError(
                f"{field} are of no use to method {method!r}; accepted: none with this method"
            )


_METHODS: dict[str, Callable[[_Request], Prior]] = {
    "catch": _catch,
    "catch+": _catch_plus,
    "store": _store,
}
