"""What a search is asked to do, checked before anything is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from transnas import spaces, tasks
from transnas._checks import check_whole
from transnas._errors import InputError
from transnas.evaluation import Evaluator, Objective
from transnas.meta import PriorInfo, load_prior, prior_info
from transnas.spaces import Space
from transnas.strategies import Strategy
from transnas.strategies.settings import settings_from
from transnas.studies import _methods
from transnas.studies._definition import Definition, data_of
from transnas.studies._storage import label_of
from transnas.studies.sources import SourceStudy
from transnas.tasks import DataTask, TableTask, Task

__all__ = [
    "Plan",
    "by_task",
    "default_evaluator",
    "default_space",
    "make_plan",
    "prior_given",
    "space_of",
    "with_learnt",
]

DEFAULT_STRATEGY = "regularized-evolution"
LEARNING_STRATEGY = "store-transfer"
DEFAULT_SPACE = "nasbench201"
DEFAULT_TRIALS = 30
_BY_KIND = {
    "detection": "residual-small",
    "segmentation": "residual-small",
    "language": "darts-recurrent",
}
"""Default spaces for kinds of task that the default space has no networks for."""


@dataclass(frozen=True)
class Plan:
    """A checked request: the definition, and the objects that it names."""

    trials: int
    """How many trials the study is to have in all."""

    definition: Definition
    space: Space
    evaluator: Evaluator
    create: Callable[[], Strategy]
    """Makes the strategy; one that learns, without its sources."""
    own_space: bool
    """Whether the task has only this space."""
    learn_from: tuple[str, ...]

    def strategy(self, found: Sequence[SourceStudy]) -> Callable[[], Strategy]:
        """Return what makes the strategy, with what it learns from these sources."""
        if not self.learn_from:
            return self.create
        from transnas.meta.store import learn

        prior = learn(by_task(found), self.space)
        seed, objectives = self.definition.seed, self.definition.objectives
        return lambda: prior.strategy(self.space, seed, objectives)


def by_task(found: Sequence[SourceStudy]) -> list[Any]:
    """Return one source for all studies that measured the same thing."""
    from transnas.meta.store import SourceTask

    groups: dict[tuple[str, str, int | None, str], list[SourceStudy]] = {}
    for source in found:
        measured = (source.task, source.data, source.budget, source.evaluator)
        groups.setdefault(measured, []).append(source)
    return [
        SourceTask(
            task if budget is None else f"{task} at {budget} epochs",
            [arch for source in group for arch in source.architectures],
            [reward for source in group for reward in source.rewards.tolist()],
        )
        for (task, _, budget, _), group in groups.items()
    ]


def make_plan(
    task: str | Path | Task,
    space: str | Space | None,
    strategy: str | None,
    objectives: Sequence[Objective | str] | Objective | str | None,
    epochs: int | None,
    seed: int,
    settings: Mapping[str, Any] | None,
    evaluator: Evaluator | None,
    learn_from: tuple[str, ...],
    prior: str | Path | None = None,
    trials: int | None = None,
) -> Plan:
    """Check a request; raises `InputError` for anything in it that is not accepted."""
    if epochs is not None:
        check_whole("epochs", epochs, 1)
    if trials is not None:
        check_whole("trials", trials, 1)
    check_whole("seed", seed, 0)
    given = {**(settings or {}), **({} if prior is None else {"prior": str(prior)})}
    learnt = prior_given(given)
    name = _strategy(strategy, learn_from, learnt)
    cls = _methods.get(name)
    settings_from(cls, given)  # a mistake in them is told before one in the task
    found = task if isinstance(task, Task) else tasks.get(str(task))
    chosen_space = space_of(found, space, learnt)
    chosen_settings = settings_from(cls, with_learnt(name, given, chosen_space))
    chosen_objectives = _objectives(found, objectives)
    chosen_evaluator = default_evaluator(found, chosen_space) if evaluator is None else evaluator
    create: Callable[[], Strategy]
    if issubclass(cls, Strategy):
        create = partial(_met, found, cls, chosen_space, seed, chosen_objectives, chosen_settings)
        work, usual = _measuring(cls, chosen_evaluator), DEFAULT_TRIALS
    else:
        from transnas.oneshot import Unasked

        create = partial(Unasked, chosen_space, seed, chosen_objectives)
        work = _searching(found, chosen_space, name, chosen_settings, chosen_evaluator)
        usual = 1
    _require_measured(chosen_objectives, work)
    full = create().full_budget  # refuses what the strategy cannot do
    if full is not None and epochs is not None:
        raise InputError(
            f"epochs {epochs} are given, but strategy {name!r} chooses them itself; accepted: its "
            f"settings min_epochs and max_epochs ({full})"
        )
    definition = Definition(
        task=found.name,
        space=chosen_space.name,
        strategy=name,
        settings=_recorded(chosen_settings),
        objectives=chosen_objectives,
        seed=seed,
        epochs=epochs,
        evaluator=chosen_evaluator.label,
        learn_from=tuple(label_of(url) for url in learn_from),
        data=data_of(found),
    )
    own_space = isinstance(found, TableTask)
    wanted = usual if trials is None else trials
    return Plan(wanted, definition, chosen_space, work, create, own_space, learn_from)


def prior_given(
    settings: Mapping[str, Any] | None, prior: str | Path | None = None
) -> PriorInfo | None:
    """Return what is known of the prior given by itself or among the settings, if one is."""
    folder = (settings or {}).get("prior") if prior is None else prior
    return prior_info(Path(folder)) if folder else None


def _met(task: Task, cls: type[Strategy], *arguments: Any) -> Strategy:
    """Return a strategy that knows the task."""
    strategy = cls(*arguments)
    strategy.meet(task)
    return strategy


def _strategy(given: str | None, learn_from: Sequence[str], prior: PriorInfo | None) -> str:
    if prior is not None:
        return _strategy_of(prior, given, learn_from)
    if not learn_from:
        return DEFAULT_STRATEGY if given is None else given
    if given not in (None, LEARNING_STRATEGY):
        _methods.get(str(given))  # an unknown name is the greater mistake
        raise InputError(
            f"strategy {given!r} does not learn from earlier studies; accepted: {LEARNING_STRATEGY}"
        )
    import transnas.meta.store  # noqa: F401 - registers the strategy

    return LEARNING_STRATEGY


def _strategy_of(prior: PriorInfo, given: str | None, learn_from: Sequence[str]) -> str:
    if learn_from:
        raise InputError(
            f"prior and learn from {', '.join(learn_from)} are given; accepted: one of the two"
        )
    name = prior.strategy_name
    if given not in (None, name):
        _methods.get(str(given))  # an unknown name is the greater mistake
        raise InputError(
            f"strategy {given!r} does not take a prior of kind {prior.kind!r}; accepted: {name}"
        )
    return name


def with_learnt(strategy: str, given: Mapping[str, Any], space: Space) -> dict[str, Any]:
    """Return the settings of a strategy: those given, before those of their prior's learning."""
    if not given.get("prior"):
        return dict(given)
    folder = Path(given["prior"])
    _strategy_of(prior_info(folder), strategy, ())
    return {**load_prior(folder, space).learnt_settings(), **given}


def _recorded(settings: Any) -> dict[str, Any]:
    """Return settings for the record: what a prior holds counts, not the folder it lies in."""
    found = asdict(settings)
    if found.get("prior"):
        found["prior"] = prior_info(Path(found["prior"])).digest
    return found


def space_of(task: Task, given: str | Space | None, prior: PriorInfo | None) -> Space:
    """Return the space of a search: the one given, else the table's, the prior's or the usual."""
    own = task.space if isinstance(task, TableTask) else None
    if given is None:
        given = own or (default_space(task) if prior is None else prior.space)
    chosen = given if isinstance(given, Space) else spaces.get(given)
    if own and chosen.name != own:
        raise InputError(
            f"space {chosen.name!r} does not fit task {task.name!r}, which is a table; "
            f"accepted: {own}"
        )
    return chosen


def default_space(task: Task) -> str:
    """Return the space of a search that names none, for a task that is no table."""
    return _BY_KIND.get(task.kind, DEFAULT_SPACE)


def _objectives(
    task: Task, given: Sequence[Objective | str] | Objective | str | None
) -> tuple[Objective, ...]:
    if given is None:
        return (Objective(task.metric),)
    if isinstance(given, (str, Objective)):
        given = (given,)
    if not given:
        raise InputError("objectives are empty; accepted: one metric or more")
    chosen = tuple(o if isinstance(o, Objective) else Objective(str(o)) for o in given)
    if len({o.metric for o in chosen}) < len(chosen):
        raise InputError("objectives name a metric twice; accepted: different metrics")
    return chosen


def _require_measured(objectives: Sequence[Objective], evaluator: Evaluator) -> None:
    """Raise `InputError` for an objective that the evaluator is known not to measure."""
    known = evaluator.reports()
    for objective in objectives:
        if known is not None and objective.metric not in known:
            raise InputError(
                f"objective {objective.metric!r} is not measured; accepted: "
                f"{', '.join(sorted(known))}"
            )


def default_evaluator(task: Task, space: Space, device: str = "auto") -> Evaluator:
    """Return the task's table, or training on `device`; raises `InputError` if it has neither."""
    if isinstance(task, TableTask):
        from transnas.evaluation.table import Table

        if device != "auto":
            raise InputError(
                f"device {device!r} does not fit task {task.name!r}, a table; accepted: auto"
            )
        return Table(task)
    if isinstance(task, DataTask):
        from transnas.evaluation.training import Training

        return Training(task, space, device=device)
    raise InputError(
        f"task {task.name!r} has neither data nor a table; accepted: an evaluator beside it"
    )


def _measuring(cls: type[Strategy], evaluator: Evaluator) -> Evaluator:
    """Return `evaluator`, or what trains from inherited weights for a strategy that inherits."""
    if not cls.inherits:
        return evaluator
    from transnas.evaluation import Inheriting
    from transnas.evaluation.training import Training

    def inheriting(part: Evaluator) -> Evaluator:
        return Inheriting.of(part) if isinstance(part, Training) else part

    return evaluator.within(inheriting)


def _searching(
    task: Task, space: Space, method: str, settings: Any, evaluator: Evaluator
) -> Evaluator:
    """Return what searches with a supernet and measures by `evaluator` what it finds.

    Raises `InputError` where the method cannot search.
    """
    from transnas.evaluation.training import Training
    from transnas.oneshot import Searching

    devices = [part.device for part in evaluator.parts() if isinstance(part, Training)]
    work = Searching(task, space, method, settings, evaluator, next(iter(devices), "auto"))
    work.check()
    return work
