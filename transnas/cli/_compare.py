"""`transnas compare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transnas.cli import _options as options
from transnas.cli._search import command_line, objective

if TYPE_CHECKING:
    from transnas.studies import Comparison

__all__ = ["compare"]


def compare(
    context: typer.Context,
    methods: Annotated[
        list[str],
        typer.Option(
            help="Strategies, the first is the baseline; with settings as name:key=value,...",
            show_default=False,
        ),
    ],
    tasks: Annotated[list[str], typer.Option(help="Tasks, as for search.", show_default=False)],
    seeds: Annotated[
        int,
        typer.Option(
            help="Seeds of each method on each task; with fewer than 10, intervals are too narrow."
        ),
    ] = 20,
    trials: Annotated[int, typer.Option(help="Architectures measured by each.")] = 50,
    space: options.SpaceName = None,
    epochs: options.Epochs = None,
    objective_: options.Metric = None,
    learn_from: options.LearnFrom = None,
    storage: options.Storage = options.DEFAULT_STORAGE,
    workers: options.Workers = "1",
    json: Annotated[Path | None, typer.Option(help="Write all numbers as JSON.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw anytime curves: .png, .svg, .pdf or .html.")
    ] = None,
) -> None:
    """Compare strategies over seeds at equal budget: intervals, paired tests, anytime curves."""
    from transnas import studies
    from transnas.studies._comparison import require_plottable
    from transnas.studies._whole import require_writable, write_whole

    if json is not None:
        require_writable(json, "json")
    if plot is not None:
        require_plottable(plot)
    found = studies.compare(
        methods,
        tasks,
        seeds,
        trials,
        space=space,
        epochs=epochs,
        objective=None if objective_ is None else objective(objective_),
        learn_from=tuple(learn_from or ()),
        storage=storage,
        workers=workers,
        command=command_line(context),
    )
    _show(found)
    if json is not None:
        print(write_whole(json, found.to_json(), "json"))
    if plot is not None:
        print(found.plot(plot))


def _show(comparison: Comparison) -> None:
    """Print a table a task."""
    from itertools import groupby
    from math import isnan

    from rich.console import Console
    from rich.table import Table

    from transnas.studies._comparison import ALONE, CHANCE
    from transnas.studies._counted import counted
    from transnas.studies._duration import duration
    from transnas.studies.report import format_value

    console = Console(highlight=False, markup=False)
    metric = comparison.metric

    def bound(number: float) -> str:
        return format_value(metric, number).removesuffix("%")

    seeds = len(comparison.seeds)
    alone = "" if seeds > 1 else f"{ALONE} "
    for task, rows in groupby(comparison.rows(), key=lambda row: row.task):
        table = Table(title=f"{task}: best {metric}", title_justify="left", box=None)
        table.add_column("method", overflow="fold", min_width=21)
        for heading in ("mean [95% interval]", "p", "reached", "cost a seed"):
            table.add_column(heading, justify="right", no_wrap=True)
        for row in rows:
            table.add_row(
                row.method,
                f"{format_value(metric, row.mean)} [{bound(row.low)}, {bound(row.high)}]",
                "" if isnan(row.p) else f"{row.p:.2g}",
                str(row.reached or "not"),
                duration(row.seconds),
            )
        if task in comparison.chance:
            table.add_row(CHANCE, format_value(metric, comparison.chance[task]))
        console.print(table)
        console.print()
    console.print(
        f"{counted(seeds, 'seed')} x {counted(comparison.trials, 'trial')}. {alone}p: Wilcoxon's "
        f"signed-rank test against {comparison.methods[0]}, Holm-corrected over the whole table. "
        "reached: trials to its final mean."
        + (f" {CHANCE}: the expected best of as many random ones." if comparison.chance else "")
    )
