"""Checkpoints: nested plain data with tensors in one safetensors file, never a pickle.

The file's metadata hold the data as JSON, in which tensors are named; it appears whole or not at
all, so that a run killed at any moment finds the last one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from transnas._errors import InputError

__all__ = [
    "FORMAT",
    "Checkpoint",
    "load_checkpoint",
    "optimiser_state",
    "random_state",
    "require_device",
    "restore_optimiser",
    "restore_random_state",
    "save_checkpoint",
]

FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A file from which a run goes on if it is there; the run is known by `identity`."""

    path: Path
    identity: Mapping[str, Any]

    def load(self) -> Any:
        """Return what `save` wrote last; None if there is no file.

        Raises `InputError` if the file is of another run.
        """
        return load_checkpoint(self.path, self.identity)[1] if self.path.exists() else None

    def save(self, state: Any) -> None:
        """Write `state`; see `save_checkpoint`."""
        save_checkpoint(self.path, self.identity, state)


def save_checkpoint(path: Path, identity: Mapping[str, Any], state: Any) -> None:
    """Write `state` (dicts, lists, tuples, numbers, texts, tensors) of the run `identity`."""
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

    Raises `InputError` if the file is not that, of another version, or of another run than
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
            f"checkpoint {str(path)!r} is not readable; accepted: one that transnas wrote for "
            "such a run, or none"
        ) from error
    if identity is not None:
        _require(path, found, json.loads(json.dumps(identity)))
    return found, state


def _require(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Raise `InputError` for the first field in which a checkpoint differs from the run."""
    for field, value in wanted.items():
        if found.get(field) != value:
            raise InputError(
                f"checkpoint {str(path)!r} is of a run with {field} {found.get(field)!r}; "
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
            f"checkpoint {str(path)!r} is of a run on device {found!r}, whose random numbers "
            f"{device.type!r} cannot go on with; accepted: device {found!r}, or another path"
        )


def optimiser_state(optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """Return the tensors of each parameter's state, by its position."""
    parameters: Sequence[Tensor] = [p for g in optimiser.param_groups for p in g["params"]]
    return {
        str(i): {key: torch.as_tensor(v) for key, v in optimiser.state[p].items() if v is not None}
        for i, p in enumerate(parameters)
        if p in optimiser.state
    }


def restore_optimiser(optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put an optimiser (SGD, Adam) of the same parameters into `optimiser_state`."""
    parameters = [p for g in optimiser.param_groups for p in g["params"]]
    optimiser.state.clear()
    for i, values in state.items():
        p = parameters[int(i)]
        # Adam's step counters live on the CPU; all else beside its parameter, and laid out like it.
        optimiser.state[p] = {
            key: v.clone() if key == "step" else torch.empty_like(p).copy_(v)
            for key, v in values.items()
        }
