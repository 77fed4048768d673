"""NAS-Bench-201 against published counts, an independent walk, and the published tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from transnas import InputError, spaces
from transnas.spaces import Architecture
from transnas.spaces.nasbench201 import EDGES, NONE, OPERATIONS, SKIP, NASBench201


@pytest.fixture(scope="module")
def space() -> NASBench201:
    space = spaces.get("nasbench201")
    assert isinstance(space, NASBench201)
    return space


def official_class(arch: Architecture) -> str:
    """Return the class string of the benchmark's own rule (6,466 classes).

    Nodes are strings: terms sorted, a skip copies its source, a term is `#` if the operation
    is `none` or the source is exactly `#`. It tells apart cells that `canonical` does not.
    """
    nodes = ["0"]
    for j in range(1, 4):
        terms = []
        for (source, target), code in zip(EDGES, arch.values, strict=True):
            if target != j:
                continue
            if code == NONE or nodes[source] == "#":
                terms.append("#")
            elif code == SKIP:
                terms.append(nodes[source])
            else:
                terms.append(f"({nodes[source]})@{OPERATIONS[code]}")
        nodes.append("+".join(sorted(terms)))
    return nodes[-1]


def test_published_class_counts(space: NASBench201) -> None:
    cells = list(space.architectures())
    assert len(cells) == 15_625
    assert len({official_class(c) for c in cells}) == 6_466
    assert len({space.canonical(c) for c in cells}) == 4_930
    assert len({space.pruned(c) for c in cells}) == 9_445
    cut_off = [c for c in cells if not space.paths(c)]
    assert len(cut_off) == 341
    assert len({space.canonical(c) for c in cut_off}) == 1
    assert all(len(space.neighbours(c)) == 24 for c in cells[:200])


def test_official_order_has_the_published_anchors(space: NASBench201) -> None:
    assert space.to_text(space.at(0)) == (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+"
        "|nor_conv_1x1~0|skip_connect~1|skip_connect~2|"
    )
    anchors = {
        11472: (3, 0, 3, 1, 0, 1),
        1835: (1, 1, 1, 1, 1, 1),
        1462: (3, 3, 3, 3, 3, 3),
        6111: (3, 3, 3, 1, 3, 2),
        9930: (3, 3, 3, 1, 3, 3),
        10676: (3, 2, 2, 1, 3, 3),
    }
    for index, values in anchors.items():
        assert space.at(index).values == values


def test_order_and_official_classes_equal_the_published_table(
    space: NASBench201, data_file: Callable[[str], Path]
) -> None:
    with np.load(data_file("nas/nasbench201.npz"), allow_pickle=False) as table:
        ops, representative = table["ops"], table["iso_rep"]
    cells = list(space.architectures())
    assert (np.array([c.values for c in cells]) == ops).all()
    first: dict[str, int] = {}
    ours = [first.setdefault(official_class(c), i) for i, c in enumerate(cells)]
    assert (np.array(ours) == representative).all()


def linear_output(values: tuple[int, ...], weights: np.ndarray, x: float) -> float:
    """Run the cell with scalar nodes, each operation a distinct odd nonlinearity through 0."""
    functions = {
        0: lambda v: 0.0,
        1: lambda v: v,
        2: lambda v: np.tanh(weights[0] * v),
        3: lambda v: weights[1] * v**3 + v / 3,
        4: lambda v: np.arcsinh(weights[2] * v),
    }
    nodes = [x, 0.0, 0.0, 0.0]
    for (i, j), code in zip(EDGES, values, strict=True):
        nodes[j] += functions[code](nodes[i])
    return nodes[3]


def test_canonical_cells_compute_the_same_function(space: NASBench201) -> None:
    rng = np.random.default_rng(0)
    weights = rng.uniform(0.5, 2.0, 3)
    outputs: dict[tuple[int, ...], tuple[float, ...]] = {}
    for cell in space.architectures():
        run = tuple(round(linear_output(cell.values, weights, x), 9) for x in (0.3, -0.7, 1.1))
        assert outputs.setdefault(space.canonical(cell).values, run) == pytest.approx(run)
    assert len(set(outputs.values())) == len(outputs), "two classes compute the same function"


@pytest.mark.parametrize(
    "text",
    [
        "|nor_conv_3x3~0|+|nor_conv_3x3~0|",
        "|conv~0|+|none~0|none~1|+|none~0|none~1|none~2|",
        "|none~1|+|none~0|none~1|+|none~0|none~1|none~2|",
        "15625",
        "9" * 5000,
        "",
    ],
)
def test_bad_text_is_refused(space: NASBench201, text: str) -> None:
    with pytest.raises(InputError):
        space.from_text(text)


def test_misspelt_operation_gets_a_suggestion(space: NASBench201) -> None:
    with pytest.raises(InputError, match="did you mean 'nor_conv_3x3'"):
        space.from_text("|nor_conv3x3~0|+|none~0|none~1|+|none~0|none~1|none~2|")
