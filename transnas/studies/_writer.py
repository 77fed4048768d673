"""The one thread that writes a running study: told trials within a moment, and heartbeats."""

from __future__ import annotations

import threading
import time
from typing import Any

from transnas.studies._lease import HEARTBEAT, Lease
from transnas.studies._storage import Store
from transnas.studies._trial import Codec, Entry

__all__ = ["Writer"]

INTERVAL = 0.25
"""Seconds between two writes: what a killed run loses at most of what it was told."""
BACKLOG = 2000
"""Entries that may wait; a faster producer is held up."""


class Writer:
    """Takes told trials and writes them in batches while the next trials are evaluated.

    Only this thread writes, so an interrupt in the main thread never cuts a transaction. What
    goes wrong there is raised by the next `put`, `check` or `close`.
    """

    def __init__(self, store: Store, study: int, codec: Codec) -> None:
        self._store = store
        self._study = study
        self._codec = codec
        self._lease: Lease = store.acquire(study)
        self._entries: list[Entry] = []
        self._snapshot: Any = None
        self._error: BaseException | None = None
        self._closing = False
        self._last = -INTERVAL
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="transnas-writer", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Take one told trial; waits if too many are waiting to be written."""
        self.check()
        with self._changed:
            self._entries.append(entry)
            if len(self._entries) == 1:
                self._changed.notify_all()
            while len(self._entries) > BACKLOG and self._error is None:
                self._changed.wait()

    def save(self, snapshot: Any) -> None:
        """Take a snapshot of the strategy that follows all trials put so far."""
        with self._changed:
            self._snapshot = snapshot

    def check(self) -> None:
        """Raise what went wrong in the thread, if anything did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Write what is left, give the lease back, and end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        if self._error is None:
            self._store.release(self._study, self._lease)
        self.check()

    def _run(self) -> None:
        try:
            while self._wait():
                self._write()
            self._write()
        except Exception as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _wait(self) -> bool:
        """Sleep until there is something to write; False when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._entries or self._closing, timeout=HEARTBEAT)
            if self._closing:
                return False
            if not self._entries:
                return True
            # Trials that take milliseconds gather here into one transaction.
            self._changed.wait_for(
                lambda: self._closing, timeout=self._last + INTERVAL - time.monotonic()
            )
            return not self._closing

    def _write(self) -> None:
        with self._changed:
            entries, snapshot = list(self._entries), self._snapshot
            self._snapshot = None
        self._lease = self._store.append(self._study, self._lease, self._codec, entries, snapshot)
        self._last = time.monotonic()
        with self._changed:
            del self._entries[: len(entries)]
            self._changed.notify_all()
