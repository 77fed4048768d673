"""`transnas list`."""

from __future__ import annotations

from typing import Annotated

import typer

from transnas._errors import unknown
from transnas.cli import _options as options

__all__ = ["list_"]

_KINDS = ("spaces", "tasks", "strategies", "studies")


def list_(
    what: Annotated[
        str,
        typer.Argument(metavar="|".join(_KINDS), help="What to list.", show_default=False),
    ],
    storage: options.Storage = options.DEFAULT_STORAGE,
) -> None:
    """List what there is, one name a line, with what is worth knowing of it."""
    if what not in _KINDS:
        raise unknown("kind", what, _KINDS)
    listed = {"spaces": _spaces, "tasks": _tasks, "strategies": _strategies}
    rows = listed[what]() if what in listed else _studies(storage)
    width = max((len(name) for name, _ in rows), default=0)
    for name, about in rows:
        print(f"{name:<{width}}  {about}".rstrip())


def _spaces() -> list[tuple[str, str]]:
    from transnas import spaces
    from transnas.studies._counted import counted

    found = []
    for name in spaces.names():
        space = spaces.get(name)
        ranges = f", {counted(len(space.ranges), 'range')}" if space.ranges else ""
        choices = counted(len(space.choices), "choice")
        found.append((name, f"{space.size:,} architectures, {choices}{ranges}"))
    return found


def _tasks() -> list[tuple[str, str]]:
    from transnas import tasks

    return [(name, "") for name in tasks.names()]


def _strategies() -> list[tuple[str, str]]:
    """Return each strategy with the settings that --set takes and their defaults."""
    from dataclasses import fields

    from transnas.studies import _methods

    found = []
    for name in _methods.names():
        cls = _methods.get(name)
        defaults = cls.Settings()
        settings = [f"{f.name}={getattr(defaults, f.name)}" for f in fields(cls.Settings)]
        found.append((name, " ".join(settings)))
    return found


def _studies(storage: str) -> list[tuple[str, str]]:
    from transnas.studies import list_studies

    return [(name, _about(name, storage)) for name in list_studies(storage)]


def _about(name: str, storage: str) -> str:
    """Return what is worth knowing of a study; of one that cannot be read here, why."""
    from transnas._errors import InputError
    from transnas.studies import StorageError, load_study
    from transnas.studies._counted import counted
    from transnas.studies.report import format_value

    try:
        study = load_study(name, storage)
    except (InputError, StorageError) as error:
        return f"cannot be read: {error}"
    about = counted(len(study.trials), "trial")
    if study.best is not None:
        objective = study.objectives[0]
        best = format_value(objective.metric, objective.value(study.best.measurement))
        about += f", best {objective.metric} {best}"
    return about
