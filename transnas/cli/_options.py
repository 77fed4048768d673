"""Options that several commands share, each with its one help text."""

from __future__ import annotations

from typing import Annotated

import typer

from transnas._errors import InputError

__all__ = [
    "DEFAULT_STORAGE",
    "Device",
    "DeviceTable",
    "Epochs",
    "LatencyConstraint",
    "LatencyTarget",
    "LatencyWeight",
    "LearnFrom",
    "Metric",
    "Name",
    "Objectives",
    "Retries",
    "RecipeFields",
    "Seed",
    "Settings",
    "Skeleton",
    "SpaceName",
    "Storage",
    "Task",
    "Timeout",
    "Trials",
    "Workers",
]

DEFAULT_STORAGE = "sqlite:///transnas.db"

Task = Annotated[
    str,
    typer.Option(
        help="A built-in task (`transnas list tasks`), a folder of images (in class folders, "
        "with COCO boxes, or with masks), or a .npz file; with options as in camvid:size=120.",
        show_default=False,
    ),
]
SpaceName = Annotated[
    str | None, typer.Option("--space", help="What can be built; default: what the task has.")
]
Storage = Annotated[
    str,
    typer.Option(help="Where studies are kept: sqlite:///file.db, postgresql://..., or others."),
]
Name = Annotated[str | None, typer.Option(help="Name of the study; default: made from the rest.")]
Epochs = Annotated[
    int | None, typer.Option(help="Training epochs of an evaluation; default: the evaluator's.")
]


def _seed(value: int) -> int:
    """Return the seed if every generator takes it."""
    if not 0 <= value < 2**63:
        raise InputError(f"seed {value} is not accepted; accepted: 0 to {2**63 - 1}")
    return value


Seed = Annotated[int, typer.Option(help="Seed of everything that is drawn.", callback=_seed)]
Workers = Annotated[str, typer.Option(help="1: this process; 4: so many processes; ray or ray:4.")]
LearnFrom = Annotated[
    list[str] | None,
    typer.Option(help="Storage of earlier studies to learn from; may be repeated."),
]
Objectives = Annotated[
    list[str] | None,
    typer.Option(
        "--objective", help="Metric to maximise, or metric:min; may be repeated for a Pareto front."
    ),
]
Trials = Annotated[int, typer.Option(help="Architectures to measure in all.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of the strategy; may be repeated."),
]
Skeleton = Annotated[
    list[str] | None,
    typer.Option(
        "--skeleton",
        metavar="KEY=VALUE",
        help="Size of the network around what is searched, such as cells=6; the rest suits the "
        "task's inputs. May be repeated.",
    ),
]
RecipeFields = Annotated[
    list[str] | None,
    typer.Option(
        "--recipe",
        metavar="KEY=VALUE",
        help="How it is trained, such as drop_path=0.4; the rest is the task's. May be repeated.",
    ),
]
Timeout = Annotated[float | None, typer.Option(help="Seconds after which a trial is given up.")]
Retries = Annotated[int, typer.Option(help="How often a trial is tried again whose worker died.")]
Metric = Annotated[
    str | None, typer.Option("--objective", help="Metric to maximise, or metric:min.")
]
Device = Annotated[
    str, typer.Option(help="Where networks are trained: auto, cpu, cuda, cuda:1, ...")
]
LatencyTarget = Annotated[
    str | None,
    typer.Option(
        help="Search for quality x (latency / target)^weight; such as 5ms. Latency is measured, or "
        "looked up with --device-table."
    ),
]
LatencyWeight = Annotated[
    float | None,
    typer.Option(help="Exponent of latency / target; default: -0.07 soft, -1 hard."),
]
LatencyConstraint = Annotated[
    str | None,
    typer.Option(help="soft: faster is better everywhere; hard: only above the target."),
]
DeviceTable = Annotated[
    str | None,
    typer.Option(
        help="Take latency_ms and energy_mj from the HW-NAS-Bench table: edgegpu, raspi4, edgetpu, "
        "pixel3, eyeriss, fpga."
    ),
]
