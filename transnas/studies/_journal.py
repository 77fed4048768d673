"""Journals: storages that are one file of JSON records, a line each."""

from __future__ import annotations

import json
from pathlib import Path

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock

from transnas._errors import InputError
from transnas.studies._storage import OptunaStore, Store, check_file

__all__ = ["open_journal"]

START = b'{"op_code":'
"""How every record begins that Optuna writes."""


def open_journal(url: str, create: bool) -> Store:
    """Open the journal at `url`; see `open_store`."""
    place = url.removeprefix("journal://")
    if not place.startswith("/"):
        raise InputError(f"storage {url!r} has no file; accepted: journal:///file.log")
    path = Path(place[1:])
    existed = check_file(url, path, create)
    try:
        if existed and _whole(url, path) < path.stat().st_size and create:
            _mend(url, path)
        store = OptunaStore(url, JournalStorage(JournalFileBackend(str(path))))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"storage {url!r} cannot be opened ({error}); accepted: an Optuna journal"
        ) from error
    store.file = None if existed else path
    return store


def _mend(url: str, path: Path) -> None:
    """Drop a last line that was cut short by a full disk or a crash.

    Optuna would append to it, and lose the next record too.
    """
    lock = JournalFileSymlinkLock(str(path))
    lock.acquire()
    try:
        whole = _whole(url, path)
        with path.open("rb+") as file:
            file.truncate(whole)
    finally:
        lock.release()


def _whole(url: str, path: Path) -> int:
    """Return how many bytes of the file are whole records; a cut last one may follow.

    Raises `InputError` if anything else is in it: Optuna would append to any file, and read no
    record after a damaged one.
    """
    size = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if not line.endswith(b"\n") and START.startswith(line[: len(START)]):
                break
            if not _is_record(line):
                raise InputError(
                    f"storage {url!r} cannot be opened: line {number} is no record; accepted: an "
                    "Optuna journal"
                )
            size += len(line)
    return size


def _is_record(line: bytes) -> bool:
    """Return whether a line of a journal is a whole record."""
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return line.endswith(b"\n") and isinstance(record, dict) and "op_code" in record
