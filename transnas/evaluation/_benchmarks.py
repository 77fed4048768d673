"""The tables of measured architectures, as arrays in `space.index` order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas import spaces
from transnas._data import data_folder
from transnas._errors import InputError, unknown
from transnas.tasks._npz import read_arrays

__all__ = ["Benchmark", "load", "provided_arrays"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Benchmark:
    """One column (data set) of a table; every array has the space's size as first dimension.

    `runs[metric, epochs]` is [size, runs] with NaN where a run is missing; `seconds[epochs]` is
    the training time that one query costs; `extra` are metrics without training (parameters,
    latency); `final` are test metrics, reached only through `Table.final_test`.
    """

    space: str
    runs: Mapping[tuple[str, int], Floats]
    seconds: Mapping[int, Floats]
    extra: Mapping[str, Floats] = field(default_factory=dict)
    final: Mapping[str, Floats] = field(default_factory=dict)

    def budgets(self, metric: str) -> list[int]:
        """Return the epochs at which `metric` is known."""
        return sorted(epochs for name, epochs in self.runs if name == metric)


_LOADERS: dict[str, Callable[[str], Benchmark]] = {}


def load(table: str, column: str) -> Benchmark:
    """Return one column of a table; raises `InputError` for unknown names or missing files."""
    if table not in _LOADERS:
        raise unknown("table", table, _LOADERS)
    return _loaded(table, column, data_folder())


@lru_cache(maxsize=32)
def _loaded(table: str, column: str, folder: Path) -> Benchmark:
    # `folder` is in the key because what a table holds depends on the provided files.
    return _LOADERS[table](column)


def _loader(name: str) -> Callable[[Callable[[str], Benchmark]], Callable[[str], Benchmark]]:
    def enter(load_column: Callable[[str], Benchmark]) -> Callable[[str], Benchmark]:
        _LOADERS[name] = load_column
        return load_column

    return enter


class _Arrays(dict[str, Any]):
    """The arrays of a file; one that is asked for and not there says that it is another file."""

    def __init__(self, path: Path) -> None:
        super().__init__(read_arrays(path))
        self._path = path

    def __missing__(self, name: str) -> Any:
        raise InputError(
            f"data file {str(self._path)!r} has no array {name!r}; accepted: the file of that name "
            "that transnas was made for"
        )


def provided_arrays(name: str) -> Mapping[str, Any]:
    """Return the arrays of a provided file; raises `InputError` if it is missing or damaged."""
    arrays = _arrays_if_there(name)
    if arrays is None:
        raise InputError(
            f"data file {str(_provided(name))!r} is missing; accepted: TRANSNAS_DATA set to the "
            "folder that holds it"
        )
    return arrays


def _arrays_if_there(name: str) -> Mapping[str, Any] | None:
    """Return the arrays of a provided file; None if it is missing."""
    path = _provided(name)
    return _arrays(path) if path.is_file() else None


def _provided(name: str) -> Path:
    return data_folder() / "nas" / name


@lru_cache(maxsize=8)
def _arrays(path: Path) -> Mapping[str, Any]:
    return _Arrays(path)


def _pick(name: str, column: str, columns: Mapping[str, Any]) -> Any:
    if column not in columns:
        raise unknown(f"column of table {name}", column, columns)
    return columns[column]


# NAS-Bench-201 ----------------------------------------------------------------------------------

_SHORT = {"cifar10": "c10", "cifar100": "c100", "imagenet16-120": "in16"}
# Parameters in millions and multiply-adds in millions of a cell: base + slopes times the number
# of 3x3 and 1x1 convolutions on its edges (C = 16, N = 5).
_PARAMETERS = {"cifar10": 73_306, "cifar100": 79_156, "imagenet16-120": 80_456}
_FLOPS = {
    "cifar10": (7.78305e6, 1.0),
    "cifar100": (7.7889e6, 1.0),
    "imagenet16-120": (1.9534e6, 0.25),
}


@_loader("nasbench201")
def _nasbench201(column: str) -> Benchmark:
    """200 epochs from the package's own table; 12 epochs and test where the data are provided."""
    short = _pick("nasbench201", column, _SHORT)
    own = _arrays(Path(str(files("transnas") / "data" / "nasbench201.npz")))
    right = own[f"{column}/right"].astype(np.float64)
    runs = {
        ("validation_accuracy", 200): np.where(right < 0, np.nan, right) / own[f"{column}/images"]
    }
    seconds = {200: own[f"{column}/seconds"].astype(np.float64)}
    larger = _arrays_if_there("nasbench201.npz")
    if larger is not None:
        runs["validation_accuracy", 12] = larger[f"val12_{short}"].astype(np.float64)[:, None] / 100
        # The 12-epoch cost is published for CIFAR-10 only; the others scale as their full runs.
        ratio = larger[f"train_time_{short}"] / larger["train_time_c10"]
        seconds[12] = (larger["cost12_c10"] * ratio).astype(np.float64)
    tests = _arrays_if_there("nasbench201_test.npz")
    final = {} if tests is None else {"test_accuracy": tests[f"test_{short}"].astype(float) / 100}
    cells = np.array([a.values for a in spaces.get("nasbench201").architectures()])
    n1, n3 = (cells == 2).sum(1), (cells == 3).sum(1)
    base, quarter = _FLOPS[column]
    extra = {
        "latency_ms": own[f"{column}/latency"].astype(np.float64) * 1e3,
        "parameters": _PARAMETERS[column] + 243_040.0 * n3 + 28_000.0 * n1,
        "flops": base + quarter * (35.38944e6 * n3 + 3.93216e6 * n1),
    }
    return Benchmark("nasbench201", runs, seconds, extra, final)


# TransNAS-Bench-101 and NAS-Bench-Macro ---------------------------------------------------------

_TRANSNAS_EPOCHS = 25
"""Nominal budget of the TransNAS tables: they hold the final epoch, which differs by task."""


def _transnas(space_name: str, table: str, column: str) -> Benchmark:
    arrays = provided_arrays("transnas101.npz")
    tasks = {str(name): i for i, name in enumerate(arrays["tasks"])}
    values = arrays[f"{table}_val"][:, _pick(space_name, column, tasks)].astype(np.float64)
    space = spaces.get(space_name)
    key = "micro_ops" if table == "micro" else "macro_arch"
    row = {"".join(str(c) for c in code): i for i, code in enumerate(arrays[key])}
    if table == "micro":
        order = [row["".join(map(str, a.values))] for a in space.architectures()]
    else:
        order = [row[space.to_text(a).ljust(6, "0")] for a in space.architectures()]
    runs = {("validation_score", _TRANSNAS_EPOCHS): values[order][:, None]}
    return Benchmark(space_name, runs, {_TRANSNAS_EPOCHS: np.zeros(space.size)})


@_loader("transnas101-micro")
def _micro(column: str) -> Benchmark:
    return _transnas("transnas101-micro", "micro", column)


@_loader("transnas101-macro")
def _macro(column: str) -> Benchmark:
    return _transnas("transnas101-macro", "macro", column)


@_loader("nasbench-macro")
def _nasbench_macro(column: str) -> Benchmark:
    """Three runs on CIFAR-10; the source has one held-out accuracy, searched as validation."""
    _pick("nasbench-macro", column, {"cifar10": None})
    arrays = provided_arrays("nasbench_macro.npz")
    space = spaces.get("nasbench-macro")
    row = {"".join(str(c) for c in code): i for i, code in enumerate(arrays["arch"])}
    order = [row[space.to_text(a)] for a in space.architectures()]
    runs = {("validation_accuracy", 50): arrays["test_acc"][order].astype(np.float64) / 100}
    names = {"parameters": "params", "flops": "flops"}
    extra = {name: arrays[key][order].astype(np.float64) for name, key in names.items()}
    return Benchmark("nasbench-macro", runs, {50: np.zeros(space.size)}, extra)
