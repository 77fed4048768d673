"""Architecture texts that are a row of integers."""

from __future__ import annotations

import re

from transnas._errors import InputError

__all__ = ["read_integers"]


def read_integers(text: str, count: int, meaning: str) -> list[int]:
    """Return `count` integers separated by spaces or slashes; raises `InputError` otherwise."""
    words = text.replace("/", " ").split()
    if len(words) != count or not all(re.fullmatch("[0-9]{1,3}", w) for w in words):
        raise InputError(
            f"architecture text {text!r} is not readable; accepted: {count} integers, {meaning}"
        )
    return [int(w) for w in words]
