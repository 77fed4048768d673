"""What can end a search besides bad input."""

from __future__ import annotations

__all__ = ["SearchError", "StorageError"]


class SearchError(RuntimeError):
    """A search that cannot go on: the reason, and what to do."""


class StorageError(RuntimeError):
    """A storage that stopped working: full, gone, or taken over by another run."""
