"""What a study is: the definition that a resumed run must share, and where it came from."""

from __future__ import annotations

import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from transnas import tasks
from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.studies._storage import label_of
from transnas.tasks import DataTask, Task

__all__ = [
    "FORMAT",
    "Definition",
    "data_of",
    "default_name",
    "environment",
    "is_of",
    "may_be_of",
    "require_name",
]

FORMAT = 1
"""Version of what `transnas` writes into a storage; other versions are refused."""

LONGEST_NAME = 500
"""What Optuna's tables hold is slightly more."""


@dataclass(frozen=True)
class Definition:
    """What determines a study's trials: the same definition gives the same sequence."""

    task: str
    space: str
    strategy: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    objectives: tuple[Objective, ...] = (Objective(),)
    seed: int = 0
    epochs: int | None = None
    evaluator: str = ""
    learn_from: tuple[str, ...] = ()
    data: str = ""
    """Digest of the user's own data (`data_of`), which `task` names without their folder."""

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON data with the format's version."""
        # Through JSON, so that what was read compares equal to what was given.
        plain: dict[str, Any] = json.loads(json.dumps({"format": FORMAT, **asdict(self)}))
        return plain

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Definition:
        """Inverse of `to_dict`; raises `InputError` for another format."""
        if data.get("format") != FORMAT:
            raise InputError(
                f"study format {data.get('format')!r} cannot be read; accepted: {FORMAT} "
                "(another version of transnas wrote it)"
            )
        fields = {key: value for key, value in data.items() if key != "format"}
        objectives = tuple(Objective(**o) for o in fields["objectives"])
        learn_from = tuple(fields["learn_from"])
        return cls(**{**fields, "objectives": objectives, "learn_from": learn_from})

    def require(self, wanted: Definition, where: str) -> None:
        """Raise `InputError` unless this stored definition equals the `wanted` one.

        `where` names the study in the message.
        """
        stored, given = self.to_dict(), wanted.to_dict()
        pairs = [(key.replace("_", " "), value, given[key]) for key, value in stored.items()]
        # A setting that this version added has its default in both.
        pairs += [
            (f"setting {key!r}", value, given["settings"].get(key))
            for key, value in stored["settings"].items()
        ]
        for field_name, value, other in pairs:
            if field_name == "data" and value != other and _undigested(self.task, value):
                continue
            if value != other and field_name != "settings":
                raise InputError(
                    f"{field_name} {_shown(other)} does not fit {where}, which has "
                    f"{_shown(value)}; accepted: the same, or another study name or storage"
                )


def data_of(task: Task) -> str:
    """Return the digest of a task's data where they are the user's own, else an empty text."""
    return task.digest if isinstance(task, DataTask) else ""


def is_of(name: str, data: str, task: Task) -> bool:
    """Return whether what was done on the task `name` with the digest `data` was done on `task`.

    The digests must be equal, and where there are none, as for what is built in, the names.
    """
    given = data_of(task)
    if data and given:
        return data == given
    return name == task.name and (data == given or _undigested(name, data))


def may_be_of(name: str, data: str, task: Task) -> bool:
    """Return whether it may have been: own data may be a copy of what is built in."""
    given = data_of(task)
    return data == given if data and given else name == task.name


def _undigested(name: str, data: str) -> bool:
    """Return whether a record is of own data and from before there were digests."""
    return not data and not tasks.is_builtin(name)


def _shown(value: Any) -> str:
    """Return a recorded value as it was given: objectives as the command line takes them."""
    if value in (None, "", [], {}):
        return "none"
    if isinstance(value, list):
        return ", ".join(
            str(Objective(**entry)) if isinstance(entry, dict) else str(entry) for entry in value
        )
    return repr(value)


def default_name(definition: Definition, own_space: bool) -> str:
    """Return the name of a study that was given none; the same command finds it again.

    `own_space` says that the task has only one space, which then need not be named.
    """
    parts = [definition.task] if own_space else [definition.task, definition.space]
    parts += [definition.strategy, f"seed{definition.seed}"]
    if definition.epochs is not None:
        parts.append(f"{definition.epochs}epochs")
    return "-".join(parts)


def require_name(name: str) -> None:
    """Raise `InputError` unless a study can have this name in any storage and on any screen."""
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise InputError(
            f"name {name[:80]!r} is not accepted; accepted: 1 to {LONGEST_NAME} printable "
            "characters"
        )


def environment(command: str | None) -> dict[str, Any]:
    """Return what is worth knowing of a run: when, where, with which versions and command."""
    return {
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "command": label_of(command or _running()),
        "versions": {"python": platform.python_version(), **_versions()},
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "cpus": os.cpu_count(),
        },
    }


def _running() -> str:
    """Return the command that this process was started with, as one would type it."""
    script = sys.argv[0].endswith(".py")
    return shlex.join(["python", *sys.argv] if script else sys.argv)


def _versions() -> dict[str, str]:
    found = {}
    for name in ("transnas", "torch", "optuna", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
