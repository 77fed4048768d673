"""`transnas search`."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transnas.cli import _options as options

if TYPE_CHECKING:
    from transnas.evaluation import Evaluator, Objective
    from transnas.meta import PriorInfo
    from transnas.studies import Study
    from transnas.studies._latency import LatencyWish

__all__ = ["command_line", "objective", "search"]


def search(
    context: typer.Context,
    task: options.Task,
    space: options.SpaceName = None,
    strategy: Annotated[
        str | None,
        typer.Option(
            help="How to search (`transnas list strategies`); default: regularized-evolution, or "
            "store-transfer with --learn-from."
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            help="Architectures to measure in all; default: 30, or 1 search for methods that train "
            "one supernet."
        ),
    ] = None,
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    storage: options.Storage = options.DEFAULT_STORAGE,
    name: options.Name = None,
    workers: options.Workers = "1",
    learn_from: options.LearnFrom = None,
    prior: Annotated[
        Path | None, typer.Option(help="Folder that transnas learn wrote; see transnas adapt.")
    ] = None,
    set_: options.Settings = None,
    objective_: options.Objectives = None,
    timeout: options.Timeout = None,
    retries: options.Retries = 1,
    device: options.Device = "auto",
    latency_target: options.LatencyTarget = None,
    latency_weight: options.LatencyWeight = None,
    latency_constraint: options.LatencyConstraint = None,
    device_table: options.DeviceTable = None,
) -> None:
    """Search an architecture for a task; the same command continues a stopped search."""
    import transnas
    from transnas.studies._latency import LatencyWish
    from transnas.studies._plan import prior_given
    from transnas.studies._settings import typed_settings

    chosen = _strategy(learn_from, prior) if strategy is None else strategy
    wish = LatencyWish(latency_target, latency_weight, latency_constraint, device_table)
    wanted = [objective(text) for text in objective_ or ()]
    settings = typed_settings(chosen, set_ or ())
    evaluator, wanted = _evaluator(task, space, prior_given(settings, prior), device, wanted, wish)
    study = transnas.search(
        task,
        space,
        chosen,
        trials,
        storage=storage,
        name=name,
        epochs=epochs,
        seed=seed,
        workers=workers,
        objectives=wanted or None,
        learn_from=tuple(learn_from or ()),
        prior=prior,
        evaluator=evaluator,
        timeout=timeout,
        retries=retries,
        settings=settings,
        command=command_line(context),
    )
    print(_summary(study))
    print(_next_steps(study, task, trials or len(study.trials), context.obj))
    if study.interrupted:
        raise typer.Exit(130)
    _require_result(study)


def _require_result(study: Study) -> None:
    """Raise `SearchError` if every trial failed; so few do not end a search by themselves."""
    from transnas.studies import SearchError

    if study.trials and all(trial.status == "failed" for trial in study.trials):
        raise SearchError(
            f"all {len(study.trials)} trials failed, the last with: "
            f"{study.trials[-1].measurement.error}; they are stored, and a greater --trials tries "
            "further ones once the cause is mended"
        )


def _strategy(learn_from: Sequence[str] | None, prior: Path | None) -> str:
    """Return the strategy of a search that names none."""
    from transnas.studies._plan import DEFAULT_STRATEGY, LEARNING_STRATEGY

    if prior is not None:
        from transnas.meta import prior_info

        return prior_info(prior).strategy_name
    return LEARNING_STRATEGY if learn_from else DEFAULT_STRATEGY


def command_line(context: typer.Context) -> str:
    """Return the command as it was given, for the record; passwords in URLs are left out."""
    from transnas.studies._storage import label_of

    return label_of(shlex.join(["transnas", *context.obj]))


def objective(text: str) -> Objective:
    """Read `metric`, `metric:max` or `metric:min`."""
    from transnas import InputError
    from transnas.evaluation import Objective

    metric, _, direction = text.partition(":")
    if not metric or direction not in ("", "max", "min"):
        raise InputError(f"objective {text!r} is not readable; accepted: metric or metric:min")
    return Objective(metric, direction != "min")


def _evaluator(
    task: str,
    space: str | None,
    prior: PriorInfo | None,
    device: str,
    wanted: list[Objective],
    wish: LatencyWish,
) -> tuple[Evaluator | None, list[Objective]]:
    """Return how to measure, and what to search for; None: the search finds it itself."""
    from transnas import tasks
    from transnas.studies._latency import MEASURED, LatencyWish, with_latency
    from transnas.studies._plan import default_evaluator, space_of

    latency = any(o.metric in MEASURED for o in wanted)
    if device == "auto" and wish == LatencyWish() and not latency:
        return None, wanted
    found = tasks.get(task)
    place = space_of(found, space, prior)
    evaluator, objectives = with_latency(
        found, place, default_evaluator(found, place, device), wanted, wish, device
    )
    return evaluator, list(objectives)


def _summary(study: Study) -> str:
    """Return the best architecture, its metrics and the cost, a line each."""
    from transnas.studies._counted import counted
    from transnas.studies._duration import duration
    from transnas.studies._storage import label_of
    from transnas.studies.report import format_value

    seconds = sum(t.measurement.cost.seconds for t in study.trials)
    failed = sum(t.status == "failed" for t in study.trials)
    lines = [("study", f"{study.name} in {label_of(study.storage)}")]
    if study.best is None:
        lines.append(("best", "none: no trial has a result"))
    else:
        lines.append(("best", study.space.to_text(study.best.architecture)))
        lines += [
            (o.metric, f"{format_value(o.metric, o.value(study.best.measurement))}")
            for o in study.objectives
        ]
        lines.append(
            ("found", f"after {study.best.number + 1} of {counted(len(study.trials), 'trial')}")
        )
    if len(study.objectives) > 1:
        lines.append(("front", f"{counted(len(study.front), 'trial')} that no other beats in all"))
    cost = f"{duration(seconds)} of evaluations"
    lines.append(("cost", cost + (f", {counted(failed, 'failed trial')}" if failed else "")))
    width = max(len(key) for key, _ in lines)
    return "\n".join(f"{key:<{width}}  {text}" for key, text in lines)


def _next_steps(study: Study, task: str, trials: int, arguments: Sequence[str]) -> str:
    """Return the commands that one may want next; `task` is what the search was given."""
    from transnas import tasks
    from transnas.studies._storage import label_of

    here = f"{shlex.quote(study.name)} --storage {shlex.quote(study.storage)}"
    own = "" if tasks.is_builtin(task) else f" --task {shlex.quote(task)}"
    trained = "Training" in study.definition.evaluator and study.best is not None
    drawn = f"{own} --pictures 6" if trained and _drawable(study) else ""
    steps = [("look", f"transnas report {here}{drawn} --out report.html")]
    if trained:
        steps.append(("train", f"transnas train --study {here}{own} --out best"))
    again = arguments if study.interrupted else _with_trials(arguments, 2 * trials)
    steps.append(("go on", shlex.join(["transnas", *again])))
    lines = [f"  {what:<6} {label_of(command)}" for what, command in steps]
    return "\n".join(["", "next", *lines])


def _drawable(study: Study) -> bool:
    from transnas.studies.pictures import obstacle  # loads torch, which tables do without

    return obstacle(study) is None


def _with_trials(arguments: Sequence[str], trials: int) -> list[str]:
    """Return the arguments of a search with another number of trials."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and argument != "--trials" and not argument.startswith("--trials="):
            kept.append(argument)
        skip = argument == "--trials" and not skip
    return [*kept, "--trials", str(trials)]
