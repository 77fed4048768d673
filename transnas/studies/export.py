"""Networks as files that need no transnas to load, and the way back for those that have it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transnas import networks, spaces
from transnas._errors import InputError, require, unknown
from transnas.tasks import DataTask, Signature, Task

__all__ = ["Exported", "describe", "export", "load_network", "require_formats"]

VERSION = 1
"""Of the JSON description; a reader refuses others."""
_TOLERANCE = 1e-3
"""Largest difference of outputs, relative to the largest output or 1, that rounding explains."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how far each program's outputs were from the network's."""

    files: tuple[Path, ...]
    differences: Mapping[str, float]
    """Largest absolute difference of outputs on random inputs, by format; outputs are scores."""
    removed: tuple[Path, ...] = ()
    """Files of another network that lay in the folder."""


def export(
    network: nn.Module,
    signature: Signature,
    folder: str | Path,
    formats: Sequence[str] = ("safetensors", "onnx", "torch"),
    metadata: Mapping[str, Any] | None = None,
) -> Exported:
    """Write `network` into `folder`, in evaluation mode, with a free batch size.

    - `safetensors`: `network.safetensors` (weights) and `network.json` (architecture, space,
      skeleton, input shape, and `metadata`), which `load_network` reads;
    - `onnx`: `network.onnx`, input `images` [B, C, H, W], output `scores` [B, outputs] (for
      segmentation [B, outputs, H, W]); of a language model, input `tokens` [B, T], int64, and
      `scores` [B, T, outputs], from the zero state;
    - `torch`: `network.pt2`, loaded by `torch.export.load` with torch alone.

    Programs are run beside the network before anything is put in place. All files are written to
    a temporary folder first, so that a failure leaves what was there. Files in other formats that
    an earlier call left stay if `network.safetensors` beside them holds this network; else they
    are of another one, or nothing says which, and go. Raises `InputError` for an unknown format, a
    missing extra, or metadata that is not JSON.
    """
    require_formats(formats, signature.kind)
    description = _description(network, signature, metadata or {})
    target = _folder(folder)
    was_training, device = network.training, next(network.parameters()).device
    network.cpu().eval()
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=target) as temporary:
            differences: dict[str, float] = {}
            for name in formats:
                difference = _WRITERS[name](network, signature, Path(temporary), description)
                if difference is not None:
                    differences[name] = difference
            written = sorted(Path(temporary).iterdir())
            removed = _remove_others(target, {f.name for f in written}, network, description)
            for file in written:
                os.replace(file, target / file.name)
    finally:
        network.to(device).train(was_training)
    return Exported(tuple(target / file.name for file in written), differences, removed)


def require_formats(formats: Sequence[str], kind: str = "classification") -> None:
    """Raise `InputError` for an unknown format, none, or one whose extra is not installed.

    A detector, whose steps depend on what it finds, can only be written as safetensors.
    """
    for name in formats:
        if name not in _WRITERS:
            raise unknown("format", name, _WRITERS)
    if not formats:
        raise InputError(f"formats are empty; accepted: {', '.join(_WRITERS)}")
    if kind == "detection" and set(formats) != {"safetensors"}:
        other = next(name for name in formats if name != "safetensors")
        raise InputError(f"format {other!r} does not fit a detector; accepted: safetensors")
    if "onnx" in formats:
        for module in ("onnx", "onnxscript", "onnxruntime"):
            require("format 'onnx'", module, "export")


def describe(task: Task) -> dict[str, Any]:
    """Return what a user of the network must know of its task: `metadata` for `export`."""
    about: dict[str, Any] = {"task": task.name, "kind": task.kind}
    if isinstance(task, DataTask):
        about |= {"classes": list(task.classes), "preprocessing": dict(task.preprocessing)}
    return about


def load_network(folder: str | Path) -> nn.Module:
    """Return the network that `export` wrote as safetensors, in evaluation mode, on the CPU.

    Raises `InputError` if files are missing, damaged, or of a network that no space builds.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder)
    for name in ("network.json", "network.safetensors"):
        if not (path / name).is_file():
            raise InputError(f"folder {str(path)!r} has no {name}; accepted: an exported network")
    try:
        about = json.loads((path / "network.json").read_text(encoding="utf-8"))
        version, built = about["version"], about["built"]
        if version != VERSION or built is None:
            raise InputError(
                f"network in {str(path)!r} is of version {version} and "
                f"{'not ' if built is None else ''}built from a space; accepted: version "
                f"{VERSION}, built from a space"
            )
        space = spaces.get(built["space"])
        arch = space.from_json(json.dumps(built["architecture"]))
        signature = Signature(
            tuple(about["input_shape"]), int(about["outputs"]), about.get("kind", "classification")
        )
        skeleton = dict(built["skeleton"])
    except (KeyError, TypeError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(
            f"file {str(path / 'network.json')!r} is not readable ({error}); "
            "accepted: one written by export"
        ) from error
    network = networks.build(space, arch, signature, **skeleton)
    try:
        network.load_state_dict(load_file(path / "network.safetensors"))
    except (SafetensorError, RuntimeError, OSError) as error:
        raise InputError(
            f"file {str(path / 'network.safetensors')!r} is not readable "
            f"({str(error).splitlines()[0]}); accepted: the weights beside network.json"
        ) from error
    return network.eval()


# Formats: each writes its files into a folder and returns the difference of outputs, if it ran ----


def _write_safetensors(
    network: nn.Module, signature: Signature, folder: Path, description: str
) -> float | None:
    # Written here and not by `save_file`, which leaves a file that only its owner can read.
    (folder / "network.safetensors").write_bytes(_weights(network))
    (folder / "network.json").write_text(description, encoding="utf-8")
    return None


def _weights(network: nn.Module) -> bytes:
    """Return the network's weights and statistics as a safetensors file."""
    from safetensors.torch import save

    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    return save(
        {
            name: tensor.clone(memory_format=torch.contiguous_format)
            for name, tensor in network.state_dict().items()
        }
    )


def _write_torch(
    network: nn.Module, signature: Signature, folder: Path, description: str
) -> float | None:
    file = folder / "network.pt2"
    torch.export.save(_program(network, signature), file)
    inputs = _inputs(signature, 3)
    with torch.no_grad():
        found = torch.export.load(file).module()(inputs)
        return _difference("torch", found, network(inputs))


def _write_onnx(
    network: nn.Module, signature: Signature, folder: Path, description: str
) -> float | None:
    import onnxruntime

    file = folder / "network.onnx"
    entry = "tokens" if signature.kind == "language" else "images"
    program = torch.onnx.export(
        _program(network, signature),
        dynamo=True,
        verbose=False,
        input_names=[entry],
        output_names=["scores"],
    )
    assert program is not None  # None is for the exporter that dynamo=True is not
    program.save(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    inputs = _inputs(signature, 3)
    (found,) = session.run(["scores"], {entry: inputs.numpy()})
    with torch.no_grad():
        return _difference("onnx", torch.from_numpy(found), network(inputs))


_FILES = ("network.json", "network.onnx", "network.pt2", "network.safetensors")
_WRITERS: dict[str, Callable[[nn.Module, Signature, Path, str], float | None]] = {
    "safetensors": _write_safetensors,
    "onnx": _write_onnx,
    "torch": _write_torch,
}


def _program(network: nn.Module, signature: Signature) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1)
    with torch.no_grad():
        return torch.export.export(network, (_inputs(signature, 2),), dynamic_shapes=({0: batch},))


def _inputs(signature: Signature, count: int) -> torch.Tensor:
    """Return random images [count, C, H, W] or tokens [count, T], always the same."""
    generator = torch.Generator().manual_seed(0)
    shape = (count, *signature.input_shape)
    if signature.kind == "language":
        return torch.randint(signature.outputs, shape, generator=generator)
    return torch.randn(shape, generator=generator)


def _description(network: nn.Module, signature: Signature, metadata: Mapping[str, Any]) -> str:
    origin = networks.origin(network)
    built = None
    if origin is not None:
        architecture = json.loads(origin.architecture)
        built = {
            "space": origin.space,
            "architecture": architecture,
            "skeleton": dict(origin.skeleton),
        }
    about = {
        "version": VERSION,
        "input_shape": list(signature.input_shape),
        "outputs": signature.outputs,
        "kind": signature.kind,
        "built": built,
        "metadata": dict(metadata),
    }
    try:
        return json.dumps(about, indent=2, allow_nan=False) + "\n"
    except (TypeError, ValueError) as error:
        raise InputError(f"metadata is not JSON ({error}); accepted: plain data") from error


def _folder(folder: str | Path) -> Path:
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"folder {str(path)!r} cannot be made ({error.strerror}); accepted: a writable folder"
        ) from error
    if not os.access(path, os.W_OK):
        raise InputError(f"folder {str(path)!r} is read-only; accepted: a writable folder")
    return path


def _remove_others(
    folder: Path, written: Collection[str], network: nn.Module, description: str
) -> tuple[Path, ...]:
    """Remove what lies in `folder` of another network and is not written anew; return it."""
    others = [folder / name for name in _FILES if name not in written]
    others = [path for path in others if path.is_file()]
    if not others or _holds(folder, network, description):
        return ()
    for path in others:
        path.unlink()
    return tuple(others)


def _holds(folder: Path, network: nn.Module, description: str) -> bool:
    """Return whether the safetensors and JSON files in `folder` are those of `network`."""
    try:
        about = json.loads((folder / "network.json").read_text(encoding="utf-8"))
        weights = (folder / "network.safetensors").read_bytes()
        built = about["built"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(built == json.loads(description)["built"] and weights == _weights(network))


def _difference(name: str, found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the largest absolute difference; raises `RuntimeError` if it is more than rounding."""
    difference = float((found - expected).abs().max())
    if not difference <= _TOLERANCE * max(1.0, float(expected.abs().max())):
        raise RuntimeError(
            f"the {name} program's scores differ from the network's by {difference:g}; "
            "nothing was written"
        )
    return difference
