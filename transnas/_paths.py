"""Whether a text can be a path at all."""

from __future__ import annotations

import os
from pathlib import Path

from transnas._errors import InputError

__all__ = ["require_path"]


def require_path(field: str, given: str | Path, path: Path) -> None:
    """Raise `InputError` unless the system can tell whether there is a file at `path`.

    It cannot where a name is too long, holds a zero byte, or lies in a folder without access;
    then `Path.exists` and `Path.is_dir` raise. `field` and `given` name it in the message.
    """
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"{field} {str(given)[:80]!r} cannot be opened: no file has such a name ({reason}); "
            "accepted: a path that the system takes"
        ) from error
