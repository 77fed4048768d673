"""What was learnt from earlier tasks, on disk and as a strategy for the next task."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.strategies import Strategy

__all__ = ["Prior", "read_prior", "write_prior"]

_DATA, _ARRAYS = "prior.json", "prior.safetensors"


class Prior(ABC):
    """Knowledge of one space from earlier tasks. Saved as JSON plus safetensors, never pickled."""

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the prior into `folder`, which is created."""

    @abstractmethod
    def strategy(
        self, space: Space, seed: int = 0, objectives: Sequence[Objective] = (Objective(),)
    ) -> Strategy:
        """Return a strategy for a new task; raises `InputError` if `space` is another space."""


def write_prior(
    folder: Path, kind: str, version: int, data: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]
) -> None:
    """Write JSON `data`, marked with `kind` and format `version`, and `arrays` beside it.

    The JSON is renamed into place last, so that an interrupted write is never read as a prior.
    """
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, folder / f"{_ARRAYS}.part")
    (folder / f"{_ARRAYS}.part").replace(folder / _ARRAYS)
    text = json.dumps({"kind": kind, "format": version, **data}, indent=1)
    (folder / f"{_DATA}.part").write_text(text)
    (folder / f"{_DATA}.part").replace(folder / _DATA)


def read_prior(
    folder: Path, kind: str, version: int, space: Space
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return what `write_prior` wrote.

    Raises `InputError` if `folder` holds no readable prior, or one of another kind, format or
    space.
    """
    try:
        data = json.loads((folder / _DATA).read_text())
        arrays = load_file(folder / _ARRAYS)
        found = (data["kind"], data["format"], data["space"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise InputError(
            f"prior {str(folder)!r} is not readable; accepted: a folder with {_DATA} and {_ARRAYS}"
        ) from error
    for field, value, accepted in zip(
        ("kind", "format", "space"), found, (kind, version, space.name), strict=True
    ):
        if value != accepted:
            raise InputError(f"prior {str(folder)!r} has {field} {value!r}; accepted: {accepted!r}")
    return dict(data), arrays
