"""`transnas train` and `transnas export`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from transnas.cli import _options as options
from transnas.cli._search import command_line
from transnas.cli._show import read_architecture

if TYPE_CHECKING:
    from torch import nn

    from transnas.evaluation import Measurement, Recipe
    from transnas.spaces import Architecture, Space
    from transnas.studies import Study
    from transnas.studies.export import Exported
    from transnas.tasks import Task

__all__ = ["export", "train"]

Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="safetensors (with JSON), onnx or torch; may be repeated. Default: all that can be "
        "written here.",
    ),
]
SPACE = "nasbench201"
_FINALISTS, _TRAINING = "finalists.checkpoint", "training.checkpoint"
"""Files in the folder of the network from which the same command goes on; removed at its end."""


def train(
    context: typer.Context,
    architecture: Annotated[
        str | None,
        typer.Argument(metavar="[ARCH]", help="An architecture; or --study for a study's best."),
    ] = None,
    study: Annotated[str | None, typer.Option(help="Train the best one of this study.")] = None,
    top: Annotated[
        int,
        typer.Option(
            help="Take the best of so many of the study's best architectures, which are first "
            "trained as long each and compared on the validation data."
        ),
    ] = 1,
    task: Annotated[str | None, typer.Option(help="Task; default: the study's.")] = None,
    space: options.SpaceName = None,
    epochs: Annotated[int, typer.Option(help="Epochs on training and validation data.")] = 60,
    skeleton: options.Skeleton = None,
    recipe: options.RecipeFields = None,
    seed: options.Seed = 0,
    storage: options.Storage = options.DEFAULT_STORAGE,
    out: Annotated[Path, typer.Option(help="Folder for the trained network.")] = Path("network"),
    formats: Formats = None,
    device: options.Device = "auto",
) -> None:
    """Train a winner longer, test it once on the test data (recorded), and export it.

    A training that was stopped goes on with the same command.
    """
    from transnas._checks import check_whole
    from transnas.studies._whole import require_folder
    from transnas.studies.export import describe, export, require_formats
    from transnas.studies.final import compare_finalists, train_final

    check_whole("top", top, 1)
    require_formats(_formats(formats))
    require_folder(out)
    found = _study(architecture, study, storage)
    target = _task(task, found)
    chosen = _formats(formats, target.kind)
    require_formats(chosen, target.kind)
    place, archs = _architectures(architecture, found, space, top)
    how = (
        epochs, seed, _recipe(target, recipe), device, _skeleton(place, target, skeleton),
        _progress(epochs),
    )  # fmt: skip
    finalists: list[dict[str, Any]] = []
    if len(archs) > 1:
        compared = compare_finalists(target, place, archs, *how, out / _FINALISTS)
        finalists = [_finalist(place.to_text(a), target.metric, m) for a, m in compared]
        archs = [compared[0][0]]
    arch = archs[0]
    network, test = train_final(target, place, arch, *how, out / _TRAINING)
    training = {"epochs": epochs, "seed": seed, "command": command_line(context)}
    made_by = {
        "final_test": {"metrics": dict(test.metrics), "at": test.at},
        "training": {**training, **({"finalists": finalists} if finalists else {})},
    }
    print(f"architecture   {place.to_text(arch)}")
    _print_metrics(test.metrics)
    try:
        about = {**describe(target), **made_by}
        _print_written(export(network, target.signature, out, chosen, about))
    finally:  # the network first: the study may not take the test; the look counts in any case
        if found is not None:
            subject = f"{test.subject} on {target.name} after {epochs} epochs, seed {seed}"
            found.record_final_test(subject, test.metrics, test.at)
    for name in (_FINALISTS, _TRAINING):
        (out / name).unlink(missing_ok=True)


def export(
    source: Annotated[
        str, typer.Argument(help="A folder written by train; or an architecture (not trained).")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path("network"),
    formats: Formats = None,
    task: Annotated[
        str | None, typer.Option(help="Task that an untrained network is built for.")
    ] = None,
    space: options.SpaceName = None,
    seed: options.Seed = 0,
) -> None:
    """Write a network in other formats, each checked against the original's outputs."""
    from transnas.studies._whole import require_folder
    from transnas.studies.export import export as write
    from transnas.studies.export import require_formats

    require_formats(_formats(formats))
    require_folder(out)
    # Not `Path.is_dir`, which raises for long names: architectures may be such.
    network, metadata = _trained(source) if os.path.isdir(source) else _fresh(
        source, task, space, seed
    )  # fmt: skip
    from transnas import networks

    origin = networks.origin(network)
    assert origin is not None  # both ways build it here
    chosen = _formats(formats, origin.signature.kind)
    _print_written(write(network, origin.signature, out, chosen, metadata))


# What to train -------------------------------------------------------------------------------


def _study(architecture: str | None, study: str | None, storage: str) -> Study | None:
    from transnas import InputError
    from transnas.studies import load_study

    if (architecture is None) == (study is None):
        given = "neither" if study is None else "both"
        raise InputError(f"ARCH and --study: {given} given; accepted: one of the two")
    return None if study is None else load_study(study, storage)


def _task(name: str | None, study: Study | None) -> Task:
    from transnas import InputError, tasks
    from transnas.studies._study import task_of

    if study is not None:
        return task_of(study, name)
    if name is None:
        raise InputError("task is missing; accepted: --task with a name, a folder or a .npz file")
    return tasks.get(name)


def _architectures(
    text: str | None, study: Study | None, space: str | None, top: int
) -> tuple[Space, list[Architecture]]:
    """Return the space and the architecture given, or the `top` best ones of the study."""
    from transnas import InputError, spaces

    if study is None:
        if top > 1:
            raise InputError(f"top is {top} with one architecture; accepted: 1, or --study")
        place = spaces.get(space or SPACE)
        return place, [read_architecture(place, text or "")]
    if space not in (None, study.space.name):
        raise InputError(
            f"space {space!r} does not fit study {study.name!r}; accepted: {study.space.name}"
        )
    trials = study.top(top)
    if not trials:
        raise InputError(
            f"study {study.name!r} has no complete trial; accepted: a study that has one"
        )
    return study.space, [trial.architecture for trial in trials]


def _skeleton(space: Space, task: Task, given: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the skeleton with what is `given`, the rest as it suits the task's inputs."""
    from transnas import networks
    from transnas.studies._settings import untyped
    from transnas.tasks import DataTask

    if not given or not isinstance(task, DataTask):
        return None
    return {**networks.suggest(space, task.signature), **untyped(given)}


def _recipe(task: Task, given: Sequence[str] | None) -> Recipe | None:
    """Return the final recipe of the task's kind with what is `given` changed."""
    from dataclasses import replace

    from transnas.evaluation import Recipe
    from transnas.studies._settings import typed
    from transnas.studies.final import final_recipe

    if not given:
        return None
    return replace(final_recipe(task.kind), **typed(Recipe, "the recipe", given))


# Networks that are there already ----------------------------------------------------------------


def _trained(folder: str) -> tuple[nn.Module, dict[str, Any]]:
    """Return the network that `train` wrote into `folder`, and what it said about it."""
    import json

    from transnas.studies.export import load_network

    network = load_network(folder)
    about = json.loads((Path(folder) / "network.json").read_text(encoding="utf-8"))
    return network, dict(about["metadata"])


def _fresh(
    text: str, task: str | None, space: str | None, seed: int
) -> tuple[nn.Module, dict[str, Any]]:
    """Return an untrained network, and that it is one."""
    import torch

    from transnas import InputError, networks, spaces, tasks
    from transnas.studies.export import describe

    if task is None:
        raise InputError(
            f"source {text!r} is no folder, and an architecture needs --task; accepted: a folder "
            "written by transnas train, or an architecture with --task"
        )
    place = spaces.get(space or SPACE)
    arch = read_architecture(place, text)
    target = tasks.get(task)
    torch.manual_seed(seed)
    skeleton = networks.suggest(place, target.signature)
    network = networks.build(place, arch, target.signature, **skeleton)
    print("warning: the network is not trained; its weights are random", file=sys.stderr)
    return network, {**describe(target), "training": None}


# Formats and printing -------------------------------------------------------------------------


def _formats(given: Sequence[str] | None, kind: str = "classification") -> list[str]:
    """Return the formats asked for; by default all that `kind` and the installed extras allow."""
    from importlib.util import find_spec

    if given:
        return list(dict.fromkeys(given))
    if kind == "detection":
        return ["safetensors"]
    found = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    return ["safetensors", "torch", *(["onnx"] if found else [])]


def _progress(epochs: int) -> Any:
    """Return what prints the state of a training, in place on a terminal and else every tenth."""
    on_terminal = sys.stderr.isatty()
    every = 1 if on_terminal else max(1, epochs // 10)

    def show(epoch: int, metrics: Mapping[str, float]) -> None:
        if epoch % every == 0 or epoch == epochs:
            end = "\r" if on_terminal and epoch < epochs else "\n"
            loss = metrics.get("train_loss", float("nan"))
            print(f"epoch {epoch}/{epochs}, loss {loss:.4f} ", end=end, file=sys.stderr, flush=True)

    return show


def _finalist(text: str, metric: str, measurement: Measurement) -> dict[str, Any]:
    """Print one finalist; return what is kept of it."""
    from transnas.studies.report import format_value

    value = measurement.metrics.get(metric)
    said = measurement.error if value is None else f"{format_value(metric, value)} {metric}"
    print(f"{'finalist':<14} {text}: {said}")
    return {"architecture": text, metric: value}


def _print_metrics(metrics: Mapping[str, float]) -> None:
    from transnas.studies.report import format_value

    for name, number in metrics.items():
        print(f"{name:<14} {format_value(name, number)}")


def _print_written(written: Exported) -> None:
    for file in written.files:
        print(f"{'written':<14} {file}")
    for file in written.removed:
        print(f"{'removed':<14} {file}, which was of another network")
    for name, difference in written.differences.items():
        print(f"{'checked':<14} {name}: outputs differ by {difference:.1e} at most")
