"""`transnas interleave`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from transnas.cli import _options as options
from transnas.cli._search import command_line

__all__ = ["interleave"]


def interleave(
    context: typer.Context,
    tasks: Annotated[
        list[str],
        typer.Option(
            help="Two or more tasks: classification, detection, segmentation.",
            show_default=False,
        ),
    ],
    baselines: Annotated[
        bool, typer.Option("--baselines", help="Run all baselines too, on as many images.")
    ] = False,
    rounds: Annotated[int, typer.Option(help="Visits of each task in an iteration.")] = 2,
    iterations: Annotated[
        int | None, typer.Option(help="Architecture steps; default: those of 25 epochs.")
    ] = None,
    preset: Annotated[
        str,
        typer.Option(
            help="What passes from task to task: joint, published, published-constants, soft, "
            "distil, example, none, hard."
        ),
    ] = "joint",
    method: Annotated[
        str, typer.Option(help="darts, pc-darts, snas, gdas or proxyless.")
    ] = "darts",
    space: options.SpaceName = None,
    epochs: Annotated[int, typer.Option(help="Epochs of each network after the search.")] = 12,
    seed: options.Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for record and networks.")] = Path(
        "interleaved"
    ),
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A setting of the search; may be repeated."
        ),
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Search one architecture for several tasks in turn; the same command continues it."""
    from transnas import studies
    from transnas.meta.interleaved import InterleaveSettings
    from transnas.studies._settings import typed

    record = studies.interleave(
        tasks,
        out=out,
        space=space,
        preset=preset,
        method=method,
        rounds=rounds,
        iterations=iterations,
        epochs=epochs,
        baselines=baselines,
        seed=seed,
        settings=typed(InterleaveSettings, "interleaved search", set_ or ()),
        device=device,
        command=command_line(context),
    )
    _show(record)
    for sentence in record["events"]:
        print(sentence)
    for task, text in record["methods"]["interleaved"]["architectures"].items():
        print(f"architecture  {task}: {text}")
    print(f"written       {out / 'result.json'}, {out / 'report.html'}, {out / 'networks'}")


def _show(record: Mapping[str, Any]) -> None:
    """Print a line a method: its accuracy on each task, and what it took."""
    from rich.console import Console
    from rich.table import Table

    from transnas.studies._duration import duration
    from transnas.studies.report._interleaved import headline

    names = list(record["definition"]["tasks"])
    table = Table(title="test metrics (* validation)", title_justify="left", box=None)
    table.add_column("method", no_wrap=True)
    for heading in (*names, "parameters", "search", "training"):
        table.add_column(heading, justify="right", overflow="fold")
    for method, row in record["methods"].items():
        cells = [row["tasks"][name] for name in names]
        table.add_row(
            method,
            *(headline(cell["metrics"]) for cell in cells),
            f"{sum(c['metrics']['parameters'] for c in cells):,.0f}",
            duration(row["cost"]["seconds"]),
            duration(sum(c["seconds"] for c in cells)),
        )
    Console(highlight=False, markup=False).print(table)
