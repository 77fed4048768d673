"""Tasks whose measurements are on record: columns of the benchmark tables."""

from __future__ import annotations

from collections.abc import Iterable

from transnas._data import data_folder
from transnas._errors import InputError
from transnas.tasks._base import Signature, TableTask, Task
from transnas.tasks._registry import Options, Source, register

__all__ = ["load", "names"]

_TRANSNAS = {
    "class_scene": 47,
    "class_object": 75,
    "room_layout": 9,
    "jigsaw": 1000,
    "segmentsemantic": 17,
    "normal": 3,
    "autoencoder": 3,
}
"""Tasks of TransNAS-Bench-101 (Duan et al., CVPR 2021) and their numbers of outputs."""

_COLUMNS: dict[str, dict[str, Signature]] = {
    "nasbench201": {
        "cifar10": Signature((3, 32, 32), 10),
        "cifar100": Signature((3, 32, 32), 100),
        "imagenet16-120": Signature((3, 16, 16), 120),
    },
    "transnas101-micro": {t: Signature((3, 256, 256), n) for t, n in _TRANSNAS.items()},
    "transnas101-macro": {t: Signature((3, 256, 256), n) for t, n in _TRANSNAS.items()},
    "nasbench-macro": {"cifar10": Signature((3, 32, 32), 10)},
}
_METRIC = {"transnas101-micro": "validation_score", "transnas101-macro": "validation_score"}
_FILES = {
    "transnas101-micro": "nas/transnas101.npz",
    "transnas101-macro": "nas/transnas101.npz",
    "nasbench-macro": "nas/nasbench_macro.npz",
}
"""Tables that do not ship with the package, and where they are looked for."""


def names() -> Iterable[str]:
    """Return `table/column` of every table at hand."""
    for table, columns in _COLUMNS.items():
        if table not in _FILES or (data_folder() / _FILES[table]).is_file():
            yield from (f"{table}/{column}" for column in columns)


def load(name: str, options: Options) -> Task:
    """Return the task of one column."""
    if options != Options():
        raise InputError(f"task {name!r} is a table, which takes no data options; accepted: none")
    table, _, column = name.partition("/")
    return TableTask(
        name,
        _COLUMNS[table][column],
        metric=_METRIC.get(table, "validation_accuracy"),
        space=table,
        table=table,
        column=column,
    )


register("tables", Source(names, load))
