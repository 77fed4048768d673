"""One-shot search: strategies that train one supernet and derive an architecture from it."""

from transnas.oneshot._base import OneShot
from transnas.oneshot._registry import get, names, register
from transnas.oneshot._search import Result, load_search, search
from transnas.oneshot._settings import Settings
from transnas.oneshot._trials import Searching, Unasked, checkpoint_of

__all__ = [
    "OneShot",
    "Result",
    "Searching",
    "Settings",
    "Unasked",
    "checkpoint_of",
    "get",
    "load_search",
    "names",
    "register",
    "search",
]
