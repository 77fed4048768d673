"""transnas: neural architecture search that learns from earlier tasks.

`import transnas as tn` loads no torch; each room is imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transnas._errors import InputError
    from transnas.studies import Study, adapt, compare, learn, load_study, search

__version__ = "0.1.0"

_ROOMS = (
    "spaces",
    "networks",
    "tasks",
    "evaluation",
    "strategies",
    "oneshot",
    "meta",
    "studies",
    "testing",
)
_NAMES = {
    "InputError": "transnas._errors",
    "Study": "transnas.studies",
    "adapt": "transnas.studies",
    "compare": "transnas.studies",
    "learn": "transnas.studies",
    "load_study": "transnas.studies",
    "search": "transnas.studies",
}

__all__ = ["InputError", "Study", "adapt", "compare", "learn", "load_study", "search"]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(_NAMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"transnas.{name}")
    raise AttributeError(f"module 'transnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_ROOMS, "__version__"])
