"""`transnas show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from transnas.spaces import Architecture, Space

__all__ = ["read_architecture", "show"]


def show(
    architecture: Annotated[
        str,
        typer.Argument(
            metavar="ARCH",
            help="An architecture: the space's own text, or JSON; in nasbench201 also an index.",
        ),
    ],
    space: Annotated[str, typer.Option(help="The space that it belongs to.")] = "nasbench201",
    task: Annotated[
        str | None,
        typer.Option(help="Task that the network is built for; default: 10 classes of 3x32x32."),
    ] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw it into this SVG file.")] = None,
) -> None:
    """Show an architecture: text, JSON, edges, and the size of its network."""
    from transnas import spaces
    from transnas.studies._whole import require_writable

    if svg is not None:
        require_writable(svg, "svg")
    found = spaces.get(space)
    arch = read_architecture(found, architecture)
    lines = [("text", found.to_text(arch)), ("json", found.to_json(arch))]
    if not found.ranges:
        lines.append(("index", f"{found.index(arch)} of {found.size:,}"))
        lines.append(("canonical", found.to_text(found.canonical(arch))))
    lines += _size(found, arch, task)
    edges = found.graph(arch).edges
    width = max((len(source) for source, _, _ in edges), default=0)
    lines += [
        ("graph" if i == 0 else "", f"{source:<{width}} -> {target}  {label}")
        for i, (source, target, label) in enumerate(edges)
    ]
    for key, text in lines:
        print(f"{key:<11}{text}")
    if svg is not None:
        from transnas.studies._whole import write_whole
        from transnas.studies.report import standalone_drawing

        print(write_whole(svg, standalone_drawing(found, arch), "svg"))


def read_architecture(space: Space, text: str) -> Architecture:
    """Read an architecture from JSON or the space's own text."""
    text = text.strip()
    if text.startswith("{"):
        return space.from_json(text)
    return space.from_text(text)


def _size(space: Space, arch: Architecture, task: str | None) -> list[tuple[str, str]]:
    """Return the network's parameters and multiply-adds; nothing if the space has no network."""
    import torch

    from transnas import networks, tasks
    from transnas.evaluation._counting import flops, parameters

    signature = tasks.get(task).signature if task else tasks.Signature((3, 32, 32), 10)
    if space.name not in networks.names():
        return []
    with torch.device("meta"):
        network = networks.build(space, arch, signature, **networks.suggest(space, signature))
    return [
        ("parameters", f"{parameters(network):,}"),
        ("flops", f"{flops(network, signature):,} multiply-adds an image"),
    ]
