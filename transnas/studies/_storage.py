"""Storages: where studies are kept, through Optuna's public interface."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import exc

from transnas._errors import InputError, unknown
from transnas._paths import require_path
from transnas.evaluation import Objective
from transnas.studies._errors import StorageError
from transnas.studies._lease import Lease
from transnas.studies._trial import ATTRIBUTES, Codec, Entry

__all__ = ["OptunaStore", "Store", "folder_beside", "label_of", "open_store"]

ACCEPTED = "sqlite:///file.db, postgresql://user@host/database, journal:///file.log or memory://"

LONGEST_FILE_NAME = 255
"""Bytes that file systems take as the name of one file or folder."""


class Store(ABC):
    """Studies in one storage. `label` is its URL without password, for messages and records.

    Studies are addressed by Optuna's study number. Attributes are JSON data.
    """

    label: str

    @abstractmethod
    def studies(self) -> dict[str, int]:
        """Return the studies that transnas wrote: their numbers by name."""

    @abstractmethod
    def create(self, name: str, objectives: Sequence[Objective], attributes: dict[str, Any]) -> int:
        """Create a study; raises `InputError` if the name is taken."""

    @abstractmethod
    def attributes(self, study: int) -> dict[str, Any]:
        """Return the study's attributes."""

    @abstractmethod
    def set_attribute(self, study: int, key: str, value: Any) -> None:
        """Set one attribute of a study; raises `StorageError` if it cannot be written."""

    @abstractmethod
    def snapshot(self, study: int) -> Any:
        """Return what `append` was last given as `snapshot`, or None."""

    @abstractmethod
    def read(self, study: int, codec: Codec) -> list[Entry]:
        """Return all told trials in the order of telling."""

    @abstractmethod
    def acquire(self, study: int) -> Lease:
        """Take the study's lease; raises `InputError` if somebody else holds it."""

    @abstractmethod
    def append(
        self, study: int, lease: Lease, codec: Codec, entries: Sequence[Entry], snapshot: Any
    ) -> Lease:
        """Write told trials (and a snapshot that follows them, unless None); renew the lease.

        Either all is written or nothing where the storage has transactions. Raises
        `StorageError` if the lease was lost or the storage does not take the data.
        """

    @abstractmethod
    def release(self, study: int, lease: Lease) -> None:
        """Give the lease back."""

    @abstractmethod
    def discard(self, study: int) -> None:
        """Delete a study."""

    @abstractmethod
    def abandon(self) -> None:
        """Delete the storage's file if this object created it and it holds no study."""

    def find(self, name: str) -> int | None:
        """Return the number of the study called `name`, or None."""
        return self.studies().get(name)

    def get(self, name: str) -> int:
        """Return the number of the study called `name`; raises `InputError` if there is none."""
        studies = self.studies()
        if name not in studies:
            raise unknown("study", name, studies)
        return studies[name]

    def close(self) -> None:  # noqa: B027 - most storages have nothing to close
        """Release connections."""

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(url: str, create: bool = False) -> Store:
    """Open the storage at `url`; a file, or tables in a database, are only made with `create`.

    Raises `InputError` if it cannot be opened.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        raise InputError(f"storage {url!r} is not a URL; accepted: {ACCEPTED}")
    if scheme == "memory":
        return OptunaStore(url, _memory(rest))
    if scheme == "journal":
        from transnas.studies._journal import open_journal

        return open_journal(url, create)
    from transnas.studies._relational import open_relational

    return open_relational(url, create)


def label_of(url: str) -> str:
    """Return a URL, or a text with URLs, without passwords, as it is shown and recorded."""
    hidden = re.sub(r"(\w://[^:/@\s]*):\S+@", r"\1:***@", url)
    return re.sub(r"([?&]password=)[^&\s'\"]+", r"\1***", hidden)


def folder_beside(url: str, name: str) -> Path | None:
    """Return the folder for what the study `name` keeps beside its storage; None without files."""
    scheme, _, rest = url.partition("://")
    if scheme not in ("sqlite", "journal") or len(rest) < 2:
        return None
    folder = quote(name, safe=" ")
    if folder in (".", "..") or len(folder) > LONGEST_FILE_NAME:
        folder = hashlib.sha256(name.encode()).hexdigest()
    return Path(f"{rest[1:]}.checkpoints") / folder


_MEMORY: dict[str, InMemoryStorage] = {}


def _memory(name: str) -> InMemoryStorage:
    """Return this process's in-memory storage of that name."""
    return _MEMORY.setdefault(name, InMemoryStorage())


def check_file(url: str, path: Path, create: bool) -> bool:
    """Return whether the storage's file exists; raises `InputError` if it cannot be had."""
    require_path("storage", url, path)
    if path.is_dir():
        raise InputError(f"storage {url!r} cannot be opened: {path} is a folder; accepted: a file")
    if not path.parent.is_dir():
        raise InputError(
            f"storage {url!r} cannot be opened: folder {path.parent} does not exist; "
            "accepted: a file in an existing folder"
        )
    if not path.exists() and not create:
        raise InputError(
            f"storage {url!r} cannot be opened: {path} does not exist; accepted: an existing file"
        )
    return path.exists()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna's log lines about created studies away from the user's terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


_ACQUIRING = threading.Lock()
"""Lets one thread of this process at a time look at a lease and take it."""


class OptunaStore(Store):
    """Any Optuna storage through its public methods: one call and one commit a trial."""

    def __init__(self, label: str, storage: BaseStorage) -> None:
        self.label = label
        self.storage = storage
        self.file: Path | None = None
        """The file that opening this store created."""

    def studies(self) -> dict[str, int]:
        """See `Store.studies`."""
        return {
            s.study_name: s._study_id
            for s in self.storage.get_all_studies()
            if "definition" in s.user_attrs
        }

    def create(self, name: str, objectives: Sequence[Objective], attributes: dict[str, Any]) -> int:
        """See `Store.create`."""
        directions = [
            StudyDirection.MAXIMIZE if o.maximise else StudyDirection.MINIMIZE for o in objectives
        ]
        try:
            with quiet_optuna():
                study = self.storage.create_new_study(directions, name)
        except optuna.exceptions.DuplicatedStudyError:
            study = self._adopt(name, directions)
        except (OSError, optuna.exceptions.StorageInternalError) as error:
            raise unwritable(self.label, error) from error
        # The definition comes last: it says that the study is complete.
        for key in sorted(attributes, key="definition".__eq__):
            self.storage.set_study_user_attr(study, key, attributes[key])
        return study

    def _adopt(self, name: str, directions: list[StudyDirection]) -> int:
        """Return a study that another process began to create, perhaps killed since."""
        study = self.storage.get_study_id_from_name(name)
        if (
            self.storage.get_study_directions(study) != directions
            or self.storage.get_n_trials(study) > 0
        ):
            raise InputError(
                f"study {name!r} in {self.label} was not made by transnas; "
                "accepted: another study name or storage"
            )
        return study

    def attributes(self, study: int) -> dict[str, Any]:
        """See `Store.attributes`."""
        with reading(self.label):
            return dict(self.storage.get_study_user_attrs(study))

    def set_attribute(self, study: int, key: str, value: Any) -> None:
        """See `Store.set_attribute`."""
        try:
            self.storage.set_study_user_attr(study, key, value)
        except (OSError, optuna.exceptions.StorageInternalError) as error:
            raise StorageError(
                f"storage {self.label} cannot be written ({_reason(error)}); "
                f"{key.replace('_', ' ')} are not recorded in it"
            ) from error

    def snapshot(self, study: int) -> Any:
        """See `Store.snapshot`."""
        with reading(self.label):
            return self.storage.get_study_system_attrs(study).get("snapshot")

    def read(self, study: int, codec: Codec) -> list[Entry]:
        """See `Store.read`."""
        found = []
        for frozen in self.storage.get_all_trials(study, deepcopy=False):
            attributes = frozen.user_attrs
            if all(key in attributes for key in ATTRIBUTES):
                found.append(codec.entry(frozen.number, *(attributes[k] for k in ATTRIBUTES)))
        return found

    # The lease: Optuna's interface has no compare-and-set, so write, wait, and look again. ----

    def acquire(self, study: int) -> Lease:
        """See `Store.acquire`."""
        with _ACQUIRING:
            self._refuse_if_held(study, None)
            lease = Lease.mine()
            self._write_lease(study, lease.text())
            if not isinstance(self.storage, InMemoryStorage):
                time.sleep(0.2)  # for other processes
            self._refuse_if_held(study, lease)
            return lease

    def append(
        self, study: int, lease: Lease, codec: Codec, entries: Sequence[Entry], snapshot: Any
    ) -> Lease:
        """See `Store.append`; here each trial is its own transaction."""
        held = self._lease(study)
        if held is None or held.token != lease.token:
            raise lost_lease(self.label, held)
        lease = lease.renewed()
        try:
            for entry in entries:
                self.storage.create_new_trial(study, _frozen(codec, entry))
            if snapshot is not None:
                self.storage.set_study_system_attr(study, "snapshot", snapshot)
            self._write_lease(study, lease.text())
        except (OSError, optuna.exceptions.StorageInternalError) as error:
            raise unwritable(self.label, error) from error
        return lease

    def release(self, study: int, lease: Lease) -> None:
        """See `Store.release`."""
        held = self._lease(study)
        if held is not None and held.token == lease.token:
            self._write_lease(study, "")

    def discard(self, study: int) -> None:
        """See `Store.discard`."""
        self.storage.delete_study(study)

    def abandon(self) -> None:
        """See `Store.abandon`."""
        if self.file is not None and not self.storage.get_all_studies():
            self.close()
            self.file.unlink(missing_ok=True)

    def _lease(self, study: int) -> Lease | None:
        text = self.storage.get_study_system_attrs(study).get("lease")
        return Lease.from_text(text) if text else None

    def _write_lease(self, study: int, text: str) -> None:
        self.storage.set_study_system_attr(study, "lease", text)

    def _refuse_if_held(self, study: int, mine: Lease | None) -> None:
        held = self._lease(study)
        if held is not None and held.held() and (mine is None or held.token != mine.token):
            raise study_is_held(self.label, held)


def study_is_held(label: str, held: Lease) -> InputError:
    """Return the error of a study that another coordinator works on."""
    since = max(0.0, time.time() - held.heartbeat)
    return InputError(
        f"this study in {label} is being run by process {held.pid} on {held.host} (last sign of "
        f"life {since:.0f} s ago); accepted: wait for it or stop it, or use another study name"
    )


def lost_lease(label: str, held: Lease | None) -> StorageError:
    """Return the error of a coordinator whose study was taken over."""
    by = f"process {held.pid} on {held.host}" if held else "another process"
    return StorageError(
        f"this study in {label} was taken over by {by}, because this run gave no sign of life "
        "for too long; trials that were not yet stored are left to it"
    )


def unwritable(label: str, error: BaseException) -> StorageError:
    """Return the error of a storage that does not take the data."""
    return StorageError(
        f"storage {label} cannot be written ({_reason(error)}); trials stored so far are safe, and "
        "the same command continues once it can"
    )


@contextmanager
def reading(label: str) -> Iterator[None]:
    """Tell what a database says of a damaged file, or a server that is gone, as `StorageError`."""
    try:
        yield
    except (exc.DBAPIError, optuna.exceptions.StorageInternalError) as error:
        raise StorageError(
            f"storage {label} cannot be read ({_reason(error)}); accepted: a copy that is whole, "
            "or the same storage once it can be read again"
        ) from error


def _reason(error: BaseException) -> str:
    return str(error.__cause__ or error).splitlines()[0]


def _frozen(codec: Codec, entry: Entry) -> FrozenTrial:
    """Return the entry as Optuna's trial."""
    trial = create_trial(
        state=TrialState[codec.state(entry)],
        values=codec.values(entry) or None,
        params=codec.params(entry.trial.architecture),
        distributions=dict(codec.distributions),
        user_attrs=codec.attributes(entry),
        intermediate_values=dict(codec.curve(entry)),
    )
    # Optuna wants naive local times here.
    trial.datetime_start = _local(entry.trial.started)
    trial.datetime_complete = _local(entry.trial.finished)
    return trial


def _local(moment: datetime) -> datetime:
    return moment.astimezone().replace(tzinfo=None)
