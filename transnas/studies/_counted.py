"""Numbers of things as people write them."""

from __future__ import annotations

__all__ = ["counted"]


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun: `1 trial`, `2,000 trials`; `many` defaults to `one` + s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
