"""Relational storages (SQLite, PostgreSQL) written and read in bulk on Optuna's tables.

Optuna's interface commits every attribute by itself: about 50 ms a trial on a slow disk. Here
all trials of a moment are one transaction, which also checks and renews the lease, so that a
coordinator that lost it cannot write. Optuna reads the same rows; for a schema, an Optuna
version or a database that this file does not know, its public interface serves.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import optuna
import sqlalchemy as sa
from optuna.storages import RDBStorage
from sqlalchemy import exc

from transnas._errors import InputError, uninstalled
from transnas.studies import _tables as t
from transnas.studies._lease import Lease
from transnas.studies._storage import (
    ACCEPTED,
    OptunaStore,
    Store,
    check_file,
    label_of,
    lost_lease,
    quiet_optuna,
    reading,
    study_is_held,
    unwritable,
)
from transnas.studies._trial import ATTRIBUTES, Codec, Entry

__all__ = ["open_relational"]

LOCK_TIMEOUT = 60
"""Seconds to wait for another process's SQLite transaction."""
RETRIES = 6
"""How often a transaction is tried when the server goes away, in growing pauses (30 s in all)."""


def open_relational(url: str, create: bool) -> Store:
    """Open a database by its SQLAlchemy URL; see `open_store`."""
    try:
        parsed = sa.make_url(url)
    except (exc.ArgumentError, ValueError):
        raise InputError(f"storage {url!r} is not a URL; accepted: {ACCEPTED}") from None
    label = label_of(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, label, create)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername=f"postgresql+{_postgres_driver()}")
        # Without it, a host that does not answer takes minutes.
        options = {"connect_timeout": 10}
        return _open(parsed, label, {"pool_pre_ping": True, "connect_args": options}, create)
    return _open(parsed, label, {"pool_pre_ping": True}, create)


def _open_sqlite(url: sa.URL, label: str, create: bool) -> Store:
    if url.database in (None, "", ":memory:"):
        raise InputError(f"storage {label!r} has no file; accepted: memory:// or sqlite:///file.db")
    path = Path(str(url.database))
    existed = check_file(label, path, create)
    store = _open(url, label, {"connect_args": {"timeout": LOCK_TIMEOUT}}, create)
    store.file = None if existed else path
    return store


def _postgres_driver() -> str:
    for driver in ("psycopg2", "psycopg"):
        if importlib.util.find_spec(driver):
            return driver
    raise uninstalled("storage postgresql", "psycopg2", "postgres")


def _open(url: sa.URL, label: str, engine_options: dict[str, Any], create: bool) -> OptunaStore:
    try:
        with quiet_optuna():
            storage = _storage(url.render_as_string(hide_password=False), engine_options, create)
    except Exception as error:  # whatever a driver makes of a URL
        reason = (str(error.__cause__ or error).splitlines() or [type(error).__name__])[0]
        if not create and "version_info" in reason:
            raise InputError(
                f"storage {label!r} holds no studies: it has none of Optuna's tables; accepted: "
                "a storage that a search wrote"
            ) from error
        raise InputError(
            f"storage {label!r} cannot be opened ({reason}); accepted: {ACCEPTED}"
        ) from error
    if url.get_backend_name() == "sqlite":
        _tune_sqlite(storage.engine)
    known = (
        optuna.__version__.split(".")[0] in t.OPTUNA_VERSIONS
        and storage.get_current_version() in t.SCHEMAS
        and url.get_backend_name() in ("sqlite", "postgresql")
    )
    return RelationalStore(label, storage) if known else OptunaStore(label, storage)


def _storage(url: str, engine_options: dict[str, Any], create: bool) -> RDBStorage:
    """Return Optuna's storage, tried again while another process makes the same tables."""
    for pause in (0.1, 0.2, 0.4, 0.8, 1.6):
        try:
            return RDBStorage(url, engine_options, skip_table_creation=not create)
        except Exception as error:
            # SQLite says the first; PostgreSQL may say the second of its own catalogue.
            texts = ("already exists", "duplicate key", "UNIQUE constraint")
            if not any(text in f"{error} {error.__cause__}" for text in texts):
                raise
            time.sleep(pause)
    return RDBStorage(url, engine_options, skip_table_creation=not create)


def _tune_sqlite(engine: sa.Engine) -> None:
    """Use a write-ahead log: readers do not block, and a commit survives the process's death."""

    def configure(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")

    sa.event.listen(engine, "connect", configure)
    engine.dispose()


class RelationalStore(OptunaStore):
    """Optuna's tables, by SQL."""

    storage: RDBStorage

    def __init__(self, label: str, storage: RDBStorage) -> None:
        super().__init__(label, storage)
        self.engine: sa.Engine = storage.engine

    def close(self) -> None:
        """Close all connections; the last one folds SQLite's log into the file."""
        self.storage.remove_session()
        self.engine.dispose()

    def studies(self) -> dict[str, int]:
        """See `Store.studies`."""
        query = sa.select(t.studies.c.study_name, t.studies.c.study_id).join(
            t.study_user_attributes, t.study_user_attributes.c.study_id == t.studies.c.study_id
        )
        query = query.where(t.study_user_attributes.c.key == "definition")
        with reading(self.label), self.engine.connect() as connection:
            rows = connection.execute(query.order_by(t.studies.c.study_id))
            return {row.study_name: row.study_id for row in rows}

    def abandon(self) -> None:
        """See `Store.abandon`; a file that another process has open stays."""
        if self.file is None or self.storage.get_all_studies():
            return
        self.close()
        with suppress(exc.OperationalError), self.engine.connect() as connection:
            # SQLite leaves the write-ahead log only for a connection that is alone.
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            mode = connection.exec_driver_sql("PRAGMA journal_mode = DELETE").scalar()
            if mode == "delete":
                self.file.unlink(missing_ok=True)
        self.engine.dispose()

    # Reading --------------------------------------------------------------------------------

    def read(self, study: int, codec: Codec) -> list[Entry]:
        """See `Store.read`; one row a trial, streamed."""
        query = sa.select(t.trials.c.number).where(t.trials.c.study_id == study)
        for key in ATTRIBUTES:
            a = t.trial_user_attributes.alias(key)
            query = query.add_columns(a.c.value_json)
            query = query.join(a, (a.c.trial_id == t.trials.c.trial_id) & (a.c.key == key))
        query = query.order_by(t.trials.c.number)
        loads = json.loads
        with (
            reading(self.label),
            self.engine.connect().execution_options(yield_per=2000) as connection,
        ):
            return [
                codec.entry(number, loads(architecture), loads(measurement), loads(run))
                for number, architecture, measurement, run in connection.execute(query)
            ]

    # Writing --------------------------------------------------------------------------------

    def acquire(self, study: int) -> Lease:
        """See `Store.acquire`; compare and set, so that of two only one gets it."""
        lease = Lease.mine()
        while True:
            text = self._lease_text(study)
            if text and Lease.from_text(text).held():
                raise study_is_held(self.label, Lease.from_text(text))
            # Lost against somebody else: look at what they did.
            try:
                with self.engine.begin() as connection:
                    if self._take(connection, study, text, lease.text()):
                        return lease
            except exc.IntegrityError:
                continue
            except exc.DBAPIError as error:
                raise unwritable(self.label, error) from error

    def append(
        self, study: int, lease: Lease, codec: Codec, entries: Sequence[Entry], snapshot: Any
    ) -> Lease:
        """See `Store.append`: one transaction."""
        renewed = lease.renewed()

        def write(connection: sa.Connection) -> bool:
            if not self._swap(connection, study, lease.text(), renewed.text()):
                return False
            if entries:
                self._insert(connection, study, codec, entries)
            if snapshot is not None:
                _set_system_attribute(connection, study, "snapshot", snapshot)
            return True

        if not self._transaction(write) and self._lease_text(study) != renewed.text():
            raise lost_lease(self.label, self._lease(study))
        return renewed

    def release(self, study: int, lease: Lease) -> None:
        """See `Store.release`."""
        self._transaction(lambda connection: self._swap(connection, study, lease.text(), ""))

    def _transaction(self, work: Callable[[sa.Connection], bool]) -> bool:
        """Run `work` in a transaction, again if the server went away, and return its result.

        When a connection is lost during the commit nobody knows whether it happened. Then the
        second try finds the lease renewed already, and returns False.
        """
        for attempt in range(RETRIES):
            try:
                with self.engine.begin() as connection:
                    return work(connection)
            except exc.DBAPIError as error:
                if not self._passing(error) or attempt == RETRIES - 1:
                    raise unwritable(self.label, error) from error
                time.sleep(2.0**attempt / 2)
        raise AssertionError("unreachable")

    def _passing(self, error: exc.DBAPIError) -> bool:
        """Return whether a server may be back in a moment; a file will not."""
        return isinstance(error, exc.OperationalError) and self.engine.dialect.name != "sqlite"

    def _lease_text(self, study: int) -> str | None:
        a = t.study_system_attributes
        query = sa.select(a.c.value_json).where(a.c.study_id == study, a.c.key == "lease")
        with reading(self.label), self.engine.connect() as connection:
            found = connection.execute(query).scalar_one_or_none()
        return None if found is None else str(json.loads(found))

    def _swap(self, connection: sa.Connection, study: int, old: str, new: str) -> bool:
        a = t.study_system_attributes
        update = sa.update(a).where(
            a.c.study_id == study, a.c.key == "lease", a.c.value_json == json.dumps(old)
        )
        return connection.execute(update.values(value_json=json.dumps(new))).rowcount == 1

    def _take(self, connection: sa.Connection, study: int, old: str | None, new: str) -> bool:
        """Set the lease if it is still the `old` one; None: if there was none."""
        if old is not None:
            return self._swap(connection, study, old, new)
        row = {"study_id": study, "key": "lease", "value_json": json.dumps(new)}
        connection.execute(sa.insert(t.study_system_attributes), row)
        return True

    def _insert(
        self, connection: sa.Connection, study: int, codec: Codec, entries: Sequence[Entry]
    ) -> None:
        rows = [
            {
                "number": entry.trial.number,
                "study_id": study,
                "state": codec.state(entry),
                "datetime_start": _naive(entry.trial.started),
                "datetime_complete": _naive(entry.trial.finished),
            }
            for entry in entries
        ]
        insert = sa.insert(t.trials).returning(t.trials.c.number, t.trials.c.trial_id)
        ids = {row.number: row.trial_id for row in connection.execute(insert, rows)}
        for table, children in t.children(codec, [(ids[e.trial.number], e) for e in entries]):
            if children:
                connection.execute(sa.insert(table), children)


def _set_system_attribute(connection: sa.Connection, study: int, key: str, value: Any) -> None:
    a = t.study_system_attributes
    update = sa.update(a).where(a.c.study_id == study, a.c.key == key)
    if connection.execute(update.values(value_json=json.dumps(value))).rowcount == 0:
        row = {"study_id": study, "key": key, "value_json": json.dumps(value)}
        connection.execute(sa.insert(a), row)


def _naive(moment: datetime) -> datetime:
    """Return a time as Optuna's columns hold it: in UTC, without saying so."""
    return moment.astimezone(timezone.utc).replace(tzinfo=None)
