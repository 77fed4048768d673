"""Who may write to a study: one coordinator at a time, and how a dead one is told."""

from __future__ import annotations

import json
import os
import platform
import time
import uuid
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

__all__ = ["HEARTBEAT", "STALE", "Lease"]

HEARTBEAT = 10.0
"""Seconds between two signs of life."""
STALE = 60.0
"""Seconds without a sign of life after which a lease is free; the machines' clocks must agree
to well within this."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to write to a study, held by a process while its heartbeat is fresh.

    `born` tells a process from a later one with the same number; 0 where that is not known.
    """

    token: str
    host: str
    pid: int
    born: int
    heartbeat: float

    @classmethod
    def mine(cls) -> Lease:
        """Return a new lease for this process."""
        born = _process(os.getpid())[1]
        return cls(uuid.uuid4().hex, platform.node(), os.getpid(), born, time.time())

    def renewed(self) -> Lease:
        """Return the same lease with a fresh heartbeat."""
        return Lease(self.token, self.host, self.pid, self.born, time.time())

    def held(self) -> bool:
        """Return whether the holder is to be respected: alive, as far as can be seen."""
        if self.host == platform.node():
            alive, born = _process(self.pid)
            if not alive or born != self.born:
                return False
        return time.time() - self.heartbeat < STALE

    def text(self) -> str:
        """Return the lease as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Lease:
        """Inverse of `text`."""
        return cls(**json.loads(text))


def _process(pid: int) -> tuple[bool, int]:
    """Return whether a process of this machine lives, and its birth in clock ticks (0: unknown).

    A zombie is dead. Where there is no /proc, liveness alone is known.
    """
    if not _has_proc():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False, 0
        except PermissionError:
            return True, 0
        return True, 0
    try:
        status = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False, 0
    return status[0] not in "ZX", int(status[19])


@lru_cache(maxsize=1)
def _has_proc() -> bool:
    return Path("/proc/self/stat").exists()
