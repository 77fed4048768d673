"""`transnas report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from transnas._errors import InputError
from transnas.cli import _options as options

if TYPE_CHECKING:
    from transnas.studies import Comparison, Study
    from transnas.studies.pictures import Picture

__all__ = ["report"]


def report(
    studies: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[STUDY]...", help="Names of studies; not needed if there is only one."
        ),
    ] = None,
    storage: options.Storage = options.DEFAULT_STORAGE,
    out: Annotated[Path, typer.Option(help="The page to write.")] = Path("report.html"),
    title: Annotated[str | None, typer.Option(help="Heading of the page.")] = None,
    comparison: Annotated[
        list[Path] | None,
        typer.Option(help="JSON of `transnas compare` to show as well; may be repeated."),
    ] = None,
    pictures: Annotated[
        int,
        typer.Option(help="Train each study's best network again and draw so many predictions."),
    ] = 0,
    task: Annotated[
        str | None, typer.Option(help="Data for --pictures; default: the study's task.")
    ] = None,
    device: options.Device = "auto",
) -> None:
    """Write one self-contained HTML page about studies: what was found, how, and at what cost."""
    from transnas.studies import load_study
    from transnas.studies._whole import require_writable
    from transnas.studies.report import write_report

    require_writable(out)
    comparisons = [_comparison(path) for path in comparison or ()]
    names = studies or ([] if comparisons else [_only(storage)])
    found = [load_study(name, storage) for name in names]
    drawn = {study.name: _pictures(study, pictures, task, device) for study in found if pictures}
    print(write_report(found, out, title, comparisons, drawn))


def _pictures(study: Study, count: int, task: str | None, device: str) -> list[Picture]:
    from transnas.studies._study import task_of
    from transnas.studies.pictures import pictures

    if count < 1:
        raise InputError(f"pictures {count} are not accepted; accepted: 1 or more, or none")
    return pictures(study, task_of(study, task), count, device)


def _only(storage: str) -> str:
    """Return the name of the storage's only study."""
    from transnas.studies import list_studies

    names = list_studies(storage)
    if len(names) == 1:
        return names[0]
    raise InputError(
        f"study is not named and {storage} has {len(names)}; accepted: {', '.join(names) or 'none'}"
    )


def _comparison(path: Path) -> Comparison:
    from transnas.studies import Comparison

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"comparison {str(path)!r} cannot be read; accepted: JSON written by transnas compare"
        ) from error
    return Comparison.from_json(text)
