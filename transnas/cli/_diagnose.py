"""`transnas diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transnas.cli import _options as options

__all__ = ["diagnose"]


def diagnose(
    studies: Annotated[
        list[str], typer.Argument(help="Studies of one-shot methods.", show_default=False)
    ],
    truth: Annotated[
        str | None,
        typer.Option(
            help="Table that says what architectures are worth alone, such as "
            "nasbench201/cifar10; without, ranks are left out."
        ),
    ] = None,
    architectures: Annotated[
        int, typer.Option(help="Random architectures that are ranked by the shared weights.")
    ] = 100,
    seed: options.Seed = 0,
    storage: options.Storage = options.DEFAULT_STORAGE,
    task: Annotated[
        str | None, typer.Option(help="The studies' own data, if they are not built in.")
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the findings as JSON.")] = None,
) -> None:
    """Say what one-shot searches are worth: ranks, spread over seeds, distance from random."""
    from transnas.studies._diagnose import diagnose as find
    from transnas.studies._diagnose import rows
    from transnas.studies._whole import require_writable, write_whole

    if json is not None:
        require_writable(json, "json")
    found = [find(name, storage, truth, architectures, seed, task) for name in studies]
    for diagnosis in found:
        print(diagnosis.study)
        for name, value in rows(diagnosis):
            print(f"  {name.replace('_', ' '):<18} {value:.4g}")
    if json is not None:
        text = ",\n".join(diagnosis.to_json() for diagnosis in found)
        print(write_whole(json, f"[{text}]\n", "json"))
