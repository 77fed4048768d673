"""Signal handlers for the time of a block."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["handled"]


@contextmanager
def handled(number: int, handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Let `handler` handle a signal in the block, and afterwards what did before."""
    previous = signal.signal(number, handler)
    try:
        yield
    finally:
        # None: a handler that was not set from Python, and cannot be set again.
        signal.signal(number, signal.SIG_DFL if previous is None else previous)
