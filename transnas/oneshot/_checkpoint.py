"""Checkpoints: nested plain data with tensors in one safetensors file, never a pickle.

The file's metadata hold the data as JSON, in which tensors are named; it appears whole or not at
all, so that a search killed at any moment finds the last one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from transnas._errors import InputError

__all__ = [
    "FORMAT",
    "load_checkpoint",
    "random_state",
    "require_device",
    "restore_random_state",
    "save_checkpoint",
]

FORMAT = 1


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Any) -> None:
    """Write `state` (dicts, lists, tuples, numbers, texts, tensors) of the search `identity`."""
    tensors: dict[str, Tensor] = {}
    packed = _pack(state, tensors)
    metadata = {
        "format": str(FORMAT),
        "identity": json.dumps(identity, sort_keys=True),
        "state": json.dumps(packed),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    with part.open("wb") as file:
        file.write(save(tensors, metadata))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load_checkpoint(path: Path, identity: Mapping[str, Any] | None = None) -> tuple[Any, Any]:
    """Return identity and state of what `save_checkpoint` wrote, tensors on the CPU.

    Raises `InputError` if the file is not that, of another version, or of another search than
    `identity` says (None: of whichever).
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            version = metadata["format"]
            if version != str(FORMAT):
                raise InputError(
                    f"checkpoint {str(path)!r} has format {version}; accepted: {FORMAT} "
                    "(another version of transnas wrote it)"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            found = json.loads(metadata["identity"])
            state = _unpack(json.loads(metadata["state"]), tensors)
    except (OSError, SafetensorError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(
            f"checkpoint {str(path)!r} is not readable; accepted: one that a one-shot search of "
            "transnas wrote, or none"
        ) from error
    if identity is not None:
        _require(path, found, json.loads(json.dumps(identity)))
    return found, state


def _require(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first field in which a checkpoint differs from the search."""
    for field, value in wanted.items():
        if found.get(field) != value:
            raise InputError(
                f"checkpoint {str(path)!r} is of a search with {field} {found.get(field)!r}; "
                f"accepted: one with {field} {value!r}, or another path"
            )


def _pack(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return `value` as JSON data; its tensors go into `tensors`."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        tensors[name] = value.detach().cpu().contiguous().clone()
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"dict": [[key, _pack(item, tensors)] for key, item in value.items()]}
    if isinstance(value, (list, tuple)):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_pack(item, tensors) for item in value]}
    return value


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Inverse of `_pack`."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _unpack(item, tensors) for key, item in content}
    items = [_unpack(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def random_state(device: torch.device) -> dict[str, Tensor]:
    """Return torch's global random state, of the CPU and of `device`."""
    found = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        found["cuda"] = torch.cuda.get_rng_state(device)
    return found


def restore_random_state(state: Mapping[str, Tensor], device: torch.device) -> None:
    """Put torch's global generators into a state from `random_state`."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], device)


def require_device(path: Path, state: Mapping[str, Tensor], device: torch.device) -> None:
    """Raise `InputError` if `state` from `random_state` is of another kind of device."""
    found = "cuda" if "cuda" in state else "cpu"
    if found != device.type:
        raise InputError(
            f"checkpoint {str(path)!r} is of a search on device {found!r}, whose random numbers "
            f"{device.type!r} cannot go on with; accepted: device {found!r}, or another path"
        )
