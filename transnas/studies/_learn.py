"""`learn`: makes a prior from earlier tasks; `adapt`: searches a new task with it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transnas import spaces, tasks
from transnas._checks import check_whole
from transnas._errors import InputError, unknown
from transnas.evaluation import Objective
from transnas.meta import AdaptedNetwork, Prior, load_prior, prior_info, saved_kind
from transnas.spaces import Space
from transnas.strategies import NoSettings, require_categorical
from transnas.strategies.settings import settings_from
from transnas.studies._plan import DEFAULT_SPACE, by_task
from transnas.studies._search import search
from transnas.studies._study import Study
from transnas.studies._whole import require_folder
from transnas.studies.sources import sources
from transnas.tasks import DataTask, TableTask, Task

if TYPE_CHECKING:
    from transnas.meta.store import SourceTask, StorePrior

__all__ = ["adapt", "adapt_at_once", "learn", "method_settings"]

CHECKPOINT = "checkpoint"
"""Folder beside the prior from which an interrupted meta-training goes on."""
_ROUNDS, _QUERIES = 25, 20
"""Length of CATCH's meta-training where nothing is said."""


@dataclass(frozen=True)
class _Request:
    """What `learn` was asked for, checked as far as every method needs."""

    method: str
    tasks: tuple[str | Path | Task, ...]
    storages: tuple[str, ...]
    space: Space
    out: Path
    seed: int
    rounds: int | None
    queries: int | None
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
    rounds: int | None = None,
    queries: int | None = None,
    epochs: int | None = None,
    objective: Objective | str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: bool | None = None,
) -> Prior:
    """Learn from earlier tasks, and save what was learnt as a prior in the folder `out`.

    `"store"` models the studies in `storages`, and `"catch+"` does with networks trained on all of
    them beside; `"catch"` meta-trains an agent on `tasks`, all tables of one space or all data
    sets; few-shot methods (`"maml"`, ..., `"t-nas++"`) meta-train a network on the classes of one
    source of episodes. Meta-training goes on where it was interrupted when called again; what
    `"catch"` has trained on data sets is not trained again. What a method makes no use of is
    refused.

    Args:
        method: `"store"`, `"catch+"`, `"catch"`, or a few-shot method.
        tasks: At least two tasks to meta-train on, as for `search`; for few-shot methods one
            source of episodes: `"omniglot"`, ..., or a folder of class folders.
        storages: Storages with earlier studies.
        space: The space to search later; default: NAS-Bench-201. Few-shot methods have their own.
        out: Folder for the prior; an older prior in it is replaced once the new one is whole.
            A meta-training in it, finished or not, goes on, and is refused to other tasks,
            settings or seeds.
        seed: Seed of the meta-training.
        rounds: How many tasks `"catch"` draws in meta-training, default 25; more go on from an
            earlier call.
        queries: Architectures measured in each; default: 20.
        epochs: Budget of an evaluation; default: the evaluator's.
        objective: What studies must have measured; default: validation accuracy.
        settings: Settings of meta-training by name: `CatchSettings`, or `FamilySettings` and
            those of the few-shot method.
        progress: Show progress; default: only on a terminal.

    Raises:
        InputError: Something given is not accepted; no prior was written.
        SearchError: No network of the first task could be measured.
    """
    chosen = _method(method)
    check_whole("seed", seed, 0)
    for field, value in (("rounds", rounds), ("queries", queries), ("epochs", epochs)):
        if value is not None:
            check_whole(field, value, 1)
    _refuse_others(
        method, chosen, tasks=tasks, storages=storages, space=space, rounds=rounds,
        queries=queries, epochs=epochs, objective=objective, settings=settings,
    )  # fmt: skip
    request = _Request(
        method=method,
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
    prior = chosen.learn(request)
    prior.save(request.out)
    return prior


def adapt(prior: str | Path, task: str | Path | Task, trials: int = 50, **options: Any) -> Study:
    """Search a new task with a prior that `learn` wrote; `options` are those of `search`."""
    return search(task, trials=trials, prior=prior, **options)


def adapt_at_once(
    prior: str | Path,
    task: str | Path | Task,
    shots: int,
    *,
    out: str | Path | None = None,
    seed: int = 0,
) -> AdaptedNetwork:
    """Adapt a prior to `shots` images a class of a new task, within seconds and without a search.

    A folder or file that does not come with splits is not divided: the network is measured on the
    task's validation images if it has some, or on all that it did not adapt to. It is saved in the
    folder `out` if one is given, where an earlier adapted network is replaced. Raises `InputError`
    for a prior that cannot, a task that does not fit it, or a folder with something else of ours.
    """
    folder = Path(prior)
    learnt = load_prior(folder, spaces.get(prior_info(folder).space))
    target = None if out is None else _target(out)
    found = task if isinstance(task, Task) else _undivided(str(task))
    if not isinstance(found, DataTask):
        raise InputError(f"task {found.name!r} has no images; accepted: a task with data")
    adapted = learnt.adapt(found, shots, seed)
    if target is not None:
        adapted.save(target)
    return adapted


def _undivided(name: str) -> Task:
    """Return the task; from the few images of the user's own, no validation is split off."""
    return tasks.get(name) if tasks.is_builtin(name) else tasks.get(name, held_out=0)


def _target(out: str | Path) -> Path:
    """Return the folder for an adapted network; it must hold no prior, which would be replaced."""
    from transnas.meta.few_shot.adapted import KIND

    folder = require_folder(out)
    found = saved_kind(folder)
    if found not in (None, KIND):
        raise InputError(
            f"out {str(out)!r} holds a prior of kind {found!r}, which would be replaced; "
            "accepted: another folder"
        )
    return folder


def method_settings(method: str) -> type[Any]:
    """Return the dataclass of the settings that a method of `learn` takes."""
    return _method(method).settings()


def _store(request: _Request) -> Prior:
    from transnas.meta.store import learn

    prior = learn(_studied("store", request), request.space)
    _require_structure(request, prior)
    return prior


def _catch_plus(request: _Request) -> Prior:
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
    from transnas.meta.catch import CatchSettings, CatchStrategy, meta_train
    from transnas.studies._learning import Learning, Watched

    settings = settings_from(CatchStrategy, dict(request.settings))
    assert isinstance(settings, CatchSettings)
    if settings.prior:
        raise InputError("setting 'prior' is given; accepted: none, learning starts from scratch")
    require_categorical(request.space, "method 'catch'")
    rounds, queries = request.rounds or _ROUNDS, request.queries or _QUERIES
    with Learning(f"learning {request.out}", rounds * queries, request.progress) as shown:
        family = Watched(_family(request), queries, shown.at)
        trained = meta_train(
            family,
            request.space,
            [request.seed],
            settings,
            rounds,
            queries,
            request.out / CHECKPOINT,
        )
    return trained.prior()


def _family(request: _Request) -> Any:
    """Return the family of the tasks: all tables, or all data sets, whose rewards are recorded."""
    from transnas.meta.catch import Recorded, TableFamily, TrainedFamily

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
        trained = TrainedFamily(data, request.space, request.epochs)
        return Recorded(trained, request.out / CHECKPOINT, [request.seed])
    raise InputError(
        f"tasks {', '.join(names)} are of several kinds; accepted: all tables or all data sets"
    )


def _refuse_others(method: str, chosen: _Method, **given: Any) -> None:
    """Raise `InputError` for something given that the method makes no use of."""
    for field, value in given.items():
        empty = value is None or (isinstance(value, Sized) and not value)
        if not empty and field not in chosen.takes:
            names = {f.name for f in fields(chosen.settings())}
            also = f" ({field!r} is a setting of it as well)" if field in names else ""
            raise InputError(
                f"method {method!r} takes no {field}; accepted: {', '.join(chosen.takes)}{also}"
            )


def _few_shot(request: _Request) -> Prior:
    from transnas.meta.few_shot import learning
    from transnas.studies._learning import Learning
    from transnas.tasks.episode_sources import get_source

    if len(request.tasks) != 1:
        raise InputError(
            f"tasks are {', '.join(map(str, request.tasks)) or 'none'}; accepted by method "
            f"{request.method!r}: one source of episodes, such as omniglot or a folder of classes"
        )
    (given,) = request.tasks
    if isinstance(given, Task):
        raise InputError(
            f"task {given.name!r} is given as an object; accepted by method {request.method!r}: "
            "the name of a source of episodes, such as omniglot, or a folder of classes"
        )
    source = get_source(str(given), request.seed)
    total = learning.total_steps(request.method, request.settings)
    name = f"learning {request.out}"
    with Learning(name, total, request.progress, "meta-steps") as shown:
        return learning.learn(
            request.method,
            source,
            request.settings,
            request.seed,
            request.out / CHECKPOINT,
            shown.at,
        )


@dataclass(frozen=True)
class _Method:
    """How a method learns, the dataclass of its settings, and what else it makes use of."""

    learn: Callable[[_Request], Prior]
    settings: Callable[[], type[Any]]
    takes: tuple[str, ...]


def _catch_settings() -> type[Any]:
    from transnas.meta.catch import CatchSettings

    return CatchSettings


def _catch_plus_settings() -> type[Any]:
    from transnas.meta.catch.plus import CatchPlusSettings

    return CatchPlusSettings


_METHODS = {
    "catch": _Method(
        _catch,
        _catch_settings,
        ("tasks", "space", "rounds", "queries", "epochs", "settings"),
    ),
    "catch+": _Method(
        _catch_plus, _catch_plus_settings, ("storages", "space", "objective", "settings")
    ),
    "store": _Method(_store, lambda: NoSettings, ("storages", "space", "objective")),
}


def _method(name: str) -> _Method:
    """Return a method; the few-shot ones are those that are registered."""
    if name in _METHODS:
        return _METHODS[name]
    from transnas.meta.few_shot import methods

    known = methods.names()
    if name not in known:
        raise unknown("method", name, [*_METHODS, *known])
    return _Method(_few_shot, lambda: methods.settings_class(name), ("tasks", "settings"))
