"""A search's state as safetensors and JSON, in one folder that is old or new, never between."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.meta._prior import has_prior, read_prior, write_prior
from transnas.spaces import Space

__all__ = ["exists", "load", "save"]

KIND, VERSION = "interleaved-checkpoint", 1
_TENSOR = "tensor"


def save(folder: Path, space: Space, definition: dict[str, Any], state: dict[str, Any]) -> None:
    """Write nested `state` (dictionaries, lists, plain values, tensors), and what it belongs to."""
    tensors: dict[str, Tensor] = {}
    plain = _take(state, "", tensors)
    arrays = {name: t.detach().cpu().numpy() for name, t in tensors.items()}
    data = {"space": space.name, "definition": definition, "state": plain}
    write_prior(folder, KIND, VERSION, data, arrays)


def exists(folder: Path) -> bool:
    """Return whether `save` wrote into `folder`."""
    return has_prior(folder)


def load(folder: Path, space: Space, definition: dict[str, Any]) -> dict[str, Any]:
    """Return the state; raises `InputError` if it is damaged or belongs to another search."""
    data, arrays = read_prior(folder, KIND, VERSION, space)
    stored = data["definition"]
    for key in sorted({*stored, *definition}):
        if stored.get(key) != definition.get(key):
            raise InputError(
                f"{key} is {definition.get(key)!r} and {stored.get(key)!r} in the checkpoint "
                f"{str(folder)!r}; accepted: the same, or another folder"
            )
    state: dict[str, Any] = _put(data["state"], {n: torch.from_numpy(a) for n, a in arrays.items()})
    return state


def _take(value: Any, path: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[path] = value
        return {_TENSOR: path}
    if isinstance(value, dict):
        return {str(k): _take(v, f"{path}/{k}", tensors) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_take(v, f"{path}/{i}", tensors) for i, v in enumerate(value)]
    return value


def _put(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if set(value) == {_TENSOR}:
            return tensors[value[_TENSOR]].clone()
        return {k: _put(v, tensors) for k, v in value.items()}
    if isinstance(value, list):
        return [_put(v, tensors) for v in value]
    return value
