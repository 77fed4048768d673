"""What was learnt from earlier tasks, on disk and as a strategy for the next task."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from transnas._errors import InputError
from transnas._registry import Registry
from transnas.evaluation import Objective
from transnas.spaces import Architecture, Space
from transnas.strategies import Strategy
from transnas.tasks import DataTask

__all__ = [
    "AdaptedNetwork",
    "Prior",
    "PriorInfo",
    "has_prior",
    "load_prior",
    "prior_info",
    "read_prior",
    "register",
    "saved_kind",
    "write_prior",
]

_DATA, _ARRAYS = "prior.json", ".safetensors"
_DIGITS = 16
"""Of a digest that names contents."""


class AdaptedNetwork(Protocol):
    """What a prior made of a task within seconds: a network that predicts."""

    @property
    def accuracy(self) -> float:
        """Share of right answers on images of the task that it did not adapt to; NaN: none."""

    @property
    def images(self) -> int:
        """Number of those images."""

    @property
    def seconds(self) -> float:
        """Time of the adaptation."""

    @property
    def architecture(self) -> Architecture | None:
        """The architecture that predicts; None if it was not searched."""

    def save(self, folder: Path) -> None:
        """Write it into `folder`."""


class Prior(ABC):
    """Knowledge of one space from earlier tasks. Saved as JSON plus safetensors, never pickled."""

    strategy_name: ClassVar[str]
    """The strategy that it gives; its setting `prior` takes the folder of a saved one."""
    adapts: ClassVar[bool] = False
    """Whether `adapt` makes a network of a task's few images at once."""

    @property
    def quality(self) -> str:
        """What it reached on validation tasks, in words; empty if it was not validated."""
        return ""

    @property
    def remarks(self) -> Sequence[str]:
        """What else there is to say of how it was learnt, a line each."""
        return ()

    @abstractmethod
    def save(self, folder: Path) -> None:
        """Write the prior into `folder`, which is created."""

    @classmethod
    @abstractmethod
    def load(cls, folder: Path, space: Space) -> Prior:
        """Read what `save` wrote; raises `InputError` if it is not that, or not of `space`."""

    @abstractmethod
    def strategy(
        self, space: Space, seed: int = 0, objectives: Sequence[Objective] = (Objective(),)
    ) -> Strategy:
        """Return a strategy for a new task; raises `InputError` if `space` is another space."""

    def adapt(self, task: DataTask, shots: int, seed: int = 0) -> AdaptedNetwork:
        """Adapt to `shots` images a class of `task` at once, without a search.

        Raises `InputError` if priors of this kind cannot, or the task does not fit.
        """
        raise InputError(
            f"shots are given, but this prior guides a search (strategy {self.strategy_name!r}); "
            "accepted: no shots"
        )

    def learnt_settings(self) -> Mapping[str, Any]:
        """Return the settings of the strategy that it was learnt with."""
        return {}


_KINDS: Registry[type[Prior]] = Registry("kind of prior", "transnas.meta", "priors")
register = _KINDS.register


@dataclass(frozen=True)
class PriorInfo:
    """What a saved prior says of itself. `digest` differs for any two that differ."""

    kind: str
    space: str
    digest: str

    @property
    def strategy_name(self) -> str:
        """The strategy that a prior of this kind gives."""
        return _KINDS.get(self.kind).strategy_name


def prior_info(folder: Path) -> PriorInfo:
    """Return what the prior in `folder` says of itself; raises `InputError` if there is none."""
    data, text = _read(folder)
    try:
        found = PriorInfo(data["kind"], data["space"], _digest(text))
        known = found.kind in _KINDS.names()
    except (KeyError, TypeError) as error:
        raise _unreadable(folder) from error
    if not known:
        raise InputError(
            f"prior {str(folder)!r} has kind {found.kind!r}; accepted: {', '.join(_KINDS.names())}"
        )
    return found


def saved_kind(folder: Path) -> str | None:
    """Return the kind of what `write_prior` wrote into `folder`, a prior or not; None if nothing.

    Raises `InputError` if that is not readable.
    """
    if not (folder / _DATA).exists():
        return None
    data, _ = _read(folder)
    return str(data.get("kind"))


def load_prior(folder: Path, space: Space) -> Prior:
    """Return the prior in `folder`, of whatever kind; raises `InputError` unless it fits."""
    return _KINDS.get(prior_info(folder).kind).load(folder, space)


def has_prior(folder: Path) -> bool:
    """Return whether `write_prior` wrote into `folder`: not if it was killed before its end.

    A file in place of the folder counts, so that reading it says what is wrong.
    """
    return (folder / _DATA).is_file() or folder.is_file()


def write_prior(
    folder: Path, kind: str, version: int, data: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]
) -> None:
    """Write JSON `data`, marked with `kind` and format `version`, and `arrays` beside it.

    The arrays' file is named by its contents and the JSON, renamed into place, names it: whenever
    the write is interrupted, `folder` holds the old prior or the new one. Of other files only
    arrays with such a name, whole or in part, which an earlier write left, are removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()})
    name = _digest(content) + _ARRAYS
    _replace(folder / name, content)
    head = {"kind": kind, "format": version, "arrays": name}
    _replace(folder / _DATA, json.dumps({**head, **data}, indent=1).encode())
    written = "[0-9a-f]" * _DIGITS + _ARRAYS
    for old in (*folder.glob(written), *folder.glob(f"{written}.part")):
        if old.name != name:
            old.unlink(missing_ok=True)


def read_prior(
    folder: Path, kind: str, version: int, space: Space
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return what `write_prior` wrote.

    Raises `InputError` if `folder` holds no readable prior, or one of another kind, format or
    space.
    """
    data, _ = _read(folder)
    try:
        found = (data["kind"], data["format"], data["space"])
        name = str(data["arrays"])
        content = (folder / Path(name).name).read_bytes()
        arrays = load(content)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise _unreadable(folder) from error
    if _digest(content) + _ARRAYS != name:
        raise InputError(f"prior {str(folder)!r} is damaged in {name}; accepted: a prior as saved")
    for field, value, accepted in zip(
        ("kind", "format", "space"), found, (kind, version, space.name), strict=True
    ):
        if value != accepted:
            raise InputError(f"prior {str(folder)!r} has {field} {value!r}; accepted: {accepted!r}")
    return data, arrays


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    """Return the JSON of a prior, read and as bytes."""
    try:
        text = (folder / _DATA).read_bytes()
        return dict(json.loads(text)), text
    except (OSError, ValueError, TypeError) as error:
        raise _unreadable(folder) from error


def _replace(path: Path, content: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(content)
    part.replace(path)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGITS]


def _unreadable(folder: Path) -> InputError:
    return InputError(
        f"prior {str(folder)!r} is not readable; accepted: a folder that transnas learn wrote, "
        f"with {_DATA} and its *{_ARRAYS}"
    )
