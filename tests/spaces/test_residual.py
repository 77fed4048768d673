"""The residual space: its size by the closed form and by listing, its strings, its moves."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import pytest

from transnas import InputError, spaces
from transnas.spaces import Space
from transnas.spaces.residual import Residual
from transnas.testing.spaces import SpaceContract

PUBLISHED = {
    "ResNet-18": "basic_64_11-21-21-21",
    "ResNet-34": "basic_64_111-2111-211111-211",
    "ResNet-50": "bottleneck_64_111-2111-211111-211",
}


def five() -> Residual:
    return Residual("five", blocks=("basic",), bases=(16, 32), depths=(5,))


def test_depth_five_is_what_enumeration_of_strings_finds() -> None:
    space = five()
    texts = set()
    for base, count, k in product((16, 32), (4, 5), (3, 4)):
        for borders in combinations(range(1, 5), count - 1):
            for doubled in combinations(range(1, 5), k):
                digits = ["2" if i in doubled else "1" for i in range(5)]
                cut = "".join(("-" if i in borders else "") + d for i, d in enumerate(digits))
                texts.add(f"basic_{base}_{cut}")
    listed = [space.to_text(arch) for arch in space.architectures()]
    assert set(listed) == texts
    assert len(listed) == len(texts) == space.size
    assert space.size == 2 * sum(comb(4, s - 1) * comb(4, k) for s in (4, 5) for k in (3, 4))


def test_the_size_of_the_registered_spaces_is_the_closed_form() -> None:
    for name, types in (("residual", 3), ("residual-small", 2)):
        space = spaces.get(name)
        assert isinstance(space, Residual)
        shapes = sum(
            comb(d - 1, s - 1) * comb(d - 1, k)
            for d in space.depths
            for s in space.stages
            for k in space.doublings
        )
        assert space.size == types * len(space.choices[1].values) * shapes


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_published_networks_are_points_of_the_space(name: str) -> None:
    space = spaces.get("residual")
    arch = space.from_text(PUBLISHED[name])
    space.validate(arch)
    assert space.to_text(arch) == PUBLISHED[name]


def test_plan_of_resnet_34() -> None:
    space = spaces.get("residual")
    assert isinstance(space, Residual)
    plan = space.plan(space.from_text(PUBLISHED["ResNet-34"]))
    assert [len(stage) for stage in plan.stages] == [3, 4, 6, 3]
    assert [set(widths) for widths in plan.widths] == [{64}, {128}, {256}, {512}]
    assert space.paths(space.from_text(PUBLISHED["ResNet-18"]))[0][1:4] == (
        "basic 64", "basic 128/2", "basic 128",
    )  # fmt: skip


def test_moves_of_a_small_network_by_hand() -> None:
    space = Residual(
        blocks=("basic",), bases=(8, 16), depths=(4, 5), stages=(2, 3), doublings=(1, 2)
    )
    found = {space.to_text(a) for a in space.neighbours(space.from_text("basic_8_11-21"))}
    assert found == {
        "basic_16_11-21",  # the base
        "basic_8_1-121", "basic_8_112-1",  # a border moved
        "basic_8_1-1-21", "basic_8_11-2-1",  # a stage divided; one stage is too few to join
        "basic_8_12-11", "basic_8_11-12",  # the doubling moved
        "basic_8_12-21", "basic_8_11-22",  # a doubling added; none is too few
        "basic_8_111-21", "basic_8_11-211",  # a block added
    }  # fmt: skip


def test_every_architecture_can_be_reached_by_moves() -> None:
    space = Residual(
        blocks=("basic", "resnext"), bases=(8, 16), depths=(4, 6), stages=(2, 3), doublings=(0, 2)
    )
    # Zero and two doublings are two edits apart: only the two halves hang together.
    halves = []
    for start in ("basic_8_11-11", "basic_8_11-22"):
        reached, frontier = set(), [space.from_text(start)]
        while frontier:
            arch = frontier.pop()
            if arch not in reached:
                reached.add(arch)
                frontier += space.neighbours(arch)
        halves.append(reached)
    assert not halves[0] & halves[1]
    assert len(halves[0]) + len(halves[1]) == space.size


@pytest.mark.parametrize(
    "text",
    [
        "basic_64_21-1-1-1",  # the first block doubles
        "basic_64_11-21-21",  # three stages
        "basic_64_11-21-21-2",  # seven blocks
        "basic_64_11-11-11-21",  # one doubling
        "basic_63_11-21-21-21",
        "basic_064_11-21-21-21",
        "plain_64_11-21-21-21",
        "basic_64_11--2121-21",
        "basic_64_13-21-21-21",
    ],
)
def test_strings_outside_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="accepted: like basic_32"):
        spaces.get("residual").from_text(text)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"depths": (4,)}, "depths"),
        ({"bases": (16, 8)}, "bases"),
        ({"bases": ()}, "bases"),
        ({"blocks": ("vgg",)}, "blocks"),
        ({"depths": (5,), "doublings": (5,)}, "doublings"),
    ],
)
def test_settings_that_leave_nothing_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Residual(**settings)  # type: ignore[arg-type]


class TestFiveBlocks(SpaceContract):
    @pytest.fixture
    def space(self) -> Space:
        return five()
