"""The application: every command, and what stands above them in `--help`."""

from __future__ import annotations

from typing import Annotated

import typer

import transnas
from transnas.cli import (
    _compare,
    _diagnose,
    _interleave,
    _learn,
    _listing,
    _report,
    _search,
    _show,
    _train,
)
from transnas.cli._variadic import VariadicCommand

__all__ = ["app"]

app = typer.Typer(
    name="transnas",
    help="Neural architecture search that learns from earlier tasks.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"transnas {transnas.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def transnas_(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Show the help where no command is given."""
    if context.invoked_subcommand is None:
        print(context.get_help())


app.command("search")(_search.search)
app.command("learn", cls=VariadicCommand)(_learn.learn)
app.command("adapt")(_learn.adapt)
app.command("interleave", cls=VariadicCommand)(_interleave.interleave)
app.command("report")(_report.report)
app.command("train")(_train.train)
app.command("export")(_train.export)
app.command("compare", cls=VariadicCommand)(_compare.compare)
app.command("diagnose")(_diagnose.diagnose)
app.command("list")(_listing.list_)
app.command("show")(_show.show)
