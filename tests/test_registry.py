"""Registries: one place of registration, near misses, no double names."""

from __future__ import annotations

import pytest

from transnas import InputError, spaces
from transnas._registry import Registry


def test_unknown_name_lists_what_is_accepted_and_suggests() -> None:
    with pytest.raises(InputError, match=r"space 'nasbench-201' is unknown; did you mean"):
        spaces.get("nasbench-201")
    with pytest.raises(InputError, match=r"accepted: .*nasbench201"):
        spaces.get("zzz")


def test_a_name_is_taken_once() -> None:
    registry: Registry[object] = Registry("thing", "transnas.spaces", "things")
    registry.register("a")(object())
    with pytest.raises(ValueError, match="registered twice"):
        registry.register("a")(object())


def test_instances_are_shared() -> None:
    assert spaces.get("nasbench201") is spaces.get("nasbench201")
