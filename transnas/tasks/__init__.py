"""What a search is for: data, splits, loss, metrics; built-in tasks and the user's own."""

from transnas.tasks._base import KINDS, DataTask, FinalTest, Signature, TableTask, Task, own_data
from transnas.tasks._registry import Options, Source, get, is_builtin, names, register

__all__ = [
    "KINDS",
    "DataTask",
    "FinalTest",
    "Options",
    "Signature",
    "Source",
    "TableTask",
    "Task",
    "get",
    "is_builtin",
    "names",
    "own_data",
    "register",
]
