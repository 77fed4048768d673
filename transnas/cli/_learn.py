"""`transnas learn` and `transnas adapt`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transnas._errors import InputError
from transnas.cli import _options as options
from transnas.cli._search import objective, search

__all__ = ["adapt", "learn"]

_WITH_SHOTS = ("prior", "task", "shots", "out", "seed")


def learn(
    method: Annotated[
        str,
        typer.Option(
            help="catch: meta-train an agent on --tasks; store: model the studies of --learn-from; "
            "catch+: the same with networks trained on all of them; maml, maml++, anil, reptile, "
            "auto-maml, t-nas, t-nas++: meta-train a network on the classes of one of --tasks.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for the prior.", show_default=False)],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            help="Two or more tasks, all tables or all data sets; few-shot methods: one source of "
            "episodes (omniglot, cifar-fs, ... or a folder of class folders).",
            show_default=False,
        ),
    ] = None,
    learn_from: options.LearnFrom = None,
    space: options.SpaceName = None,
    rounds: Annotated[
        int | None, typer.Option(help="catch: tasks drawn in meta-training; default: 25.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(help="catch: architectures measured in each; default: 20.")
    ] = None,
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    objective_: options.Metric = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of meta-training; may be repeated."
        ),
    ] = None,
) -> None:
    """Learn a prior from earlier tasks; the same command continues a stopped meta-training."""
    from transnas import studies
    from transnas.studies._learn import method_settings
    from transnas.studies._settings import typed

    own = method_settings(method)
    prior = studies.learn(
        method,
        tasks or (),
        learn_from or (),
        space=space,
        out=out,
        seed=seed,
        rounds=rounds,
        queries=queries,
        epochs=epochs,
        objective=None if objective_ is None else objective(objective_),
        settings=typed(own, f"method {method!r}", set_) if set_ else None,
    )
    if prior.quality:
        print(f"tasks    {prior.quality} (validation)")
    for remark in prior.remarks:
        print(f"note     {remark}")
    print(f"written  {out}, for the strategy {prior.strategy_name}")
    print(
        f"next     transnas adapt {out} --task NEW {'--shots 5' if prior.adapts else '--trials 50'}"
    )


def adapt(
    context: typer.Context,
    prior: Annotated[
        Path, typer.Argument(help="Folder that transnas learn wrote.", show_default=False)
    ],
    task: options.Task,
    shots: Annotated[
        int | None,
        typer.Option(
            help="Adapt to so many images a class, at once and without a search (few-shot priors).",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With --shots: folder for the adapted network.", show_default=False),
    ] = None,
    space: options.SpaceName = None,
    trials: options.Trials = 50,
    epochs: options.Epochs = None,
    seed: options.Seed = 0,
    storage: options.Storage = options.DEFAULT_STORAGE,
    name: options.Name = None,
    workers: options.Workers = "1",
    set_: options.Settings = None,
    objective_: options.Objectives = None,
    timeout: options.Timeout = None,
    retries: options.Retries = 1,
    device: options.Device = "auto",
) -> None:
    """Search a new task with a prior; the same command continues a stopped search."""
    if shots is not None:
        _refuse_search_options(context)
        _at_once(prior, task, shots, out, seed)
        return
    if out is not None:
        raise InputError(f"out {str(out)!r} is given without shots; accepted: both, or neither")
    search(
        context,
        task,
        space=space,
        trials=trials,
        epochs=epochs,
        seed=seed,
        storage=storage,
        name=name,
        workers=workers,
        prior=prior,
        set_=set_,
        objective_=objective_,
        timeout=timeout,
        retries=retries,
        device=device,
    )


def _refuse_search_options(context: typer.Context) -> None:
    """Raise `InputError` for an option that only a search heeds."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _WITH_SHOTS and source is not None and source.name == "COMMANDLINE":
            raise InputError(
                f"{name.strip('_')} is given with shots, which need no search; accepted with "
                f"shots: {', '.join(_WITH_SHOTS)}"
            )


def _at_once(prior: Path, task: str, shots: int, out: Path | None, seed: int) -> None:
    from transnas.studies import adapt_at_once

    found = adapt_at_once(prior, task, shots, out=out, seed=seed)
    if found.architecture is not None:
        from transnas import spaces

        space = spaces.get(found.architecture.space)
        print(f"architecture  {space.to_text(found.architecture)}")
    if found.images:
        print(f"accuracy      {found.accuracy:.4f} on {found.images} other images")
    else:
        print("accuracy      not measured: no images are left")
    print(f"adapted in    {found.seconds:.2f} s")
    if out is not None:
        print(f"written       {out}")
