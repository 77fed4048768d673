"""Where data sets that do not ship with the package are looked for."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["data_folder"]


def data_folder() -> Path:
    """Return the folder of provided data sets: `TRANSNAS_DATA`, else the user's cache folder.

    The folder need not exist; nothing is ever written there unasked.
    """
    given = os.environ.get("TRANSNAS_DATA")
    if given:
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "transnas"
