"""Whether a text can be a path at all."""

from __future__ import annotations

import os
from pathlib import Path

from transnas._errors import InputError

__all__ = ["require_path"]


def require_path(field: str, given: str | Path, path: Path) -> None:
    """Raise `InputError` unless the system can tell whether there is a file at `path`.

    It cannot where a name is too long, also one in a folder that is still to be made, holds a zero
    byte, or lies in a folder without access; then `Path.exists` and `Path.is_dir` raise. `field`
    and `given` name it in the message.
    """
    try:
        nearest = next(p for p in (path, *path.absolute().parents) if _is_there(p))
        for name in path.absolute().relative_to(nearest.absolute()).parts:
            _is_there(nearest / name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{field} {str(given)[:80]!r} cannot be opened: no file has such a name ({reason}); "
            "accepted: a path that the system takes"
        ) from error


def _is_there(path: Path) -> bool:
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True
