"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from transnas._errors import InputError
from transnas._paths import require_path

__all__ = ["require_folder", "require_writable", "write_whole"]


def require_writable(path: str | Path, field: str = "out") -> Path:
    """Return `path` if a file can be written there; raises `InputError` otherwise.

    Asked before work starts, so that hours of it do not end at a missing folder.
    """
    path = Path(path)
    require_path(field, path, path)
    if path.is_dir():
        raise InputError(f"{field} {str(path)!r} is a folder; accepted: a path to a file")
    folder = path.parent
    if not folder.is_dir():
        raise InputError(
            f"{field} {str(path)!r} is in a folder that does not exist; "
            "accepted: a file in an existing folder"
        )
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(
            f"{field} {str(path)!r} cannot be written; accepted: a path that you may write to"
        )
    return path


def require_folder(path: str | Path) -> Path:
    """Return `path` if it is a folder to write into, or one can be made there."""
    path = Path(path)
    require_path("out", path, path)
    nearest = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise InputError(
            f"out {str(path)!r} cannot be a folder to write into; accepted: a folder that you "
            "may write to, or a new one in such a folder"
        )
    return path


def write_whole(path: str | Path, content: str | bytes, field: str = "out") -> Path:
    """Write `content` to `path` in one step: readers see the old file or the whole new one."""
    path = require_writable(path, field)
    data = content.encode() if isinstance(content, str) else content
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        raise InputError(
            f"{field} {str(path)!r} cannot be written ({error.strerror}); "
            "accepted: a path that you may write to"
        ) from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
