"""Published pairs of cells, in short: `op-state op-state | ... > outputs`, normal first."""

from __future__ import annotations

from transnas.spaces.darts import Genotype

_NAMES = {
    "none": "none",
    "skip": "skip_connect",
    "max": "max_pool_3x3",
    "avg": "avg_pool_3x3",
    "sep3": "sep_conv_3x3",
    "sep5": "sep_conv_5x5",
    "sep7": "sep_conv_7x7",
    "dil3": "dil_conv_3x3",
    "dil5": "dil_conv_5x5",
    "conv7": "conv_7x1_1x7",
}

_CELLS = {
    "DARTS_V1": (
        "sep3-1 sep3-0 | skip-0 sep3-1 | skip-0 sep3-1 | sep3-0 skip-2",
        "max-0 max-1 | skip-2 max-0 | max-0 skip-2 | skip-2 avg-0",
    ),
    "DARTS_V2": (
        "sep3-0 sep3-1 | sep3-0 sep3-1 | sep3-1 skip-0 | skip-0 dil3-2",
        "max-0 max-1 | skip-2 max-1 | max-0 skip-2 | skip-2 max-1",
    ),
    "PC_DARTS_cifar": (
        "sep3-1 skip-0 | sep3-0 dil3-1 | sep5-0 sep3-1 | avg-0 dil3-1",
        "sep5-1 max-0 | sep5-1 sep5-2 | sep3-0 sep3-3 | sep3-1 sep3-2",
    ),
    "PC_DARTS_image": (
        "skip-1 sep3-0 | sep3-0 skip-1 | sep3-1 sep3-3 | sep3-1 dil5-4",
        "sep3-0 skip-1 | dil5-2 max-1 | sep3-2 sep3-1 | sep5-0 sep3-3",
    ),
    "GDAS_V1": (
        "skip-0 skip-1 | skip-0 sep5-2 | sep3-3 skip-0 | sep5-4 sep3-3",
        "sep5-0 sep3-1 | sep5-2 sep5-1 | dil5-2 sep3-1 | sep5-0 sep5-1",
    ),
    "SNAS_mild": (
        "sep3-0 sep3-1 | skip-0 dil3-1 | skip-0 skip-1 | skip-0 sep3-1",
        "max-0 max-1 | max-1 skip-2 | max-1 skip-2 | max-0 dil5-2",
    ),
    "SNAS_moderate": (
        "dil5-0 skip-1 | sep3-0 skip-1 | skip-0 skip-1 | sep3-0 dil5-1",
        "max-0 max-1 | sep5-0 dil5-1 | sep5-0 sep5-1 | sep5-0 sep5-1",
    ),
    "SNAS_aggressive": (
        "sep5-0 skip-1 | skip-0 skip-1 | dil5-1 skip-0 | skip-0 dil5-1",
        "sep5-0 none-1 | sep5-0 none-1 | none-0 none-1 | none-0 none-1",
    ),
    "P_DARTS": (
        "skip-0 dil3-1 | skip-0 sep3-1 | sep3-1 sep3-3 | sep3-0 dil5-4",
        "avg-0 sep5-1 | sep3-0 dil5-2 | max-0 dil3-1 | dil3-1 dil5-3",
    ),
    # Two cells of larger spaces, as they are trained in the DARTS skeleton.
    "NASNet_A": (
        "sep5-1 sep3-0 | sep5-0 sep3-0 | avg-1 skip-0 | avg-0 avg-0 | sep3-1 skip-1 > 2 3 4 5 6",
        "sep5-1 sep7-0 | max-1 sep7-0 | avg-1 sep5-0 | skip-3 avg-2 | sep3-2 max-1 > 4 5 6",
    ),
    "AmoebaNet_A": (
        "avg-0 max-1 | sep3-0 sep5-2 | sep3-0 avg-3 | sep3-1 skip-1 | skip-0 avg-1 > 4 5 6",
        "avg-0 sep3-1 | max-0 sep7-2 | sep7-0 avg-1 | max-0 max-1 | conv7-0 sep3-5 > 3 4 6",
    ),
}

CELLS = tuple(_CELLS)


def genotype(name: str) -> Genotype:
    """Return the published pair of cells called `name`."""
    parts = []
    for kind, text in zip(("normal", "reduce"), _CELLS[name], strict=True):
        body, _, outputs = text.partition(" > ")
        pairs = [word.split("-") for word in body.replace("|", " ").split()]
        listed = ", ".join(f"({_NAMES[op]!r}, {state})" for op, state in pairs)
        concat = ", ".join((outputs or "2 3 4 5").split())
        parts += [f"{kind}=[{listed}], {kind}_concat=[{concat}]"]
    return Genotype.parse(f"Genotype({', '.join(parts)})")
