from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import pytest

from transnas import InputError
from transnas.strategies.settings import check_range, check_types


@dataclass(frozen=True)
class Chosen:
    size: int | Literal["auto"] | None = None
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Numbers:
    whole: int = 1
    share: float = 0.5
    rate: float = 1.0
    limit: float | None = None


def test_a_field_may_accept_several_types() -> None:
    for right in ({"size": None}, {"size": "auto"}, {"size": 3}, {"names": ["of any type"]}):
        check_types(Chosen, right)
    for wrong in ("other", 2.0, True):
        with pytest.raises(
            InputError, match=r"'size' is .*accepted: none or an integer or 'auto'$"
        ):
            check_types(Chosen, {"size": wrong})


@pytest.mark.parametrize("largest", [10**400, -(10**400)])
def test_integers_of_any_size_have_their_type(largest: int) -> None:
    check_types(Numbers, {"whole": largest, "rate": largest})


def test_numbers_at_the_ends_of_a_range_are_accepted_or_not_as_it_says() -> None:
    check_range(Numbers(whole=1, share=1.0), "whole", "share", least=1, most=1)
    check_range(Numbers(share=0.1, rate=0), "share", "rate", least=0, below=1)
    for bounds in ({"above": 1}, {"below": 1}, {"least": 2}, {"most": 0}):
        with pytest.raises(InputError, match="'whole' is 1; accepted"):
            check_range(Numbers(), "whole", **bounds)


def test_none_is_accepted_where_the_field_says_so() -> None:
    check_range(Numbers(), "limit", least=0)
    with pytest.raises(InputError, match=r"accepted: none or finite numbers from 0$"):
        check_range(Numbers(limit=-1.0), "limit", least=0)


@pytest.mark.parametrize(
    ("name", "value", "bounds", "accepted"),
    [
        ("whole", 0, {"least": 1}, "whole numbers from 1"),
        ("whole", 1.5, {"least": 1}, "whole numbers from 1"),
        ("whole", True, {"least": 1}, "whole numbers from 1"),
        ("whole", None, {"least": 1}, "whole numbers from 1"),
        ("share", -0.1, {"least": 0, "most": 1}, "numbers from 0 to 1"),
        ("share", 1.0, {"least": 0, "below": 1}, "numbers from 0 and below 1"),
        ("rate", 0.0, {"above": 0}, "finite numbers above 0"),
        ("rate", "1", {"above": 0}, "finite numbers above 0"),
        ("rate", math.inf, {}, "finite numbers"),
        ("rate", math.nan, {"above": 0, "below": 1}, "numbers above 0 and below 1"),
    ],
)
def test_what_is_not_in_range_is_refused_in_a_sentence(
    name: str, value: object, bounds: dict[str, float], accepted: str
) -> None:
    settings = Numbers(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(InputError) as caught:
        check_range(settings, name, **bounds)
    assert str(caught.value) == f"setting {name!r} is {value!r}; accepted: {accepted}"
