"""What can be built: search spaces as choices and masks. No torch here."""

from transnas.spaces._base import Architecture, Choice, Graph, Range, Space
from transnas.spaces._registry import get, names, register

__all__ = ["Architecture", "Choice", "Graph", "Range", "Space", "get", "names", "register"]
