"""Which choices a space had when something was learnt on it.

Networks see architectures by the places of their values: on a space that has other choices since,
the inputs would mean something else.
"""

from __future__ import annotations

from typing import Any

from transnas._errors import InputError
from transnas.spaces import Space

__all__ = ["Choices", "choices_of", "read_choices", "require_choices"]

Choices = tuple[tuple[str, tuple[str, ...]], ...]
"""Name and values of each choice, in order."""


def choices_of(space: Space) -> Choices:
    """Return the choices that `space` has now."""
    return tuple((c.name, c.values) for c in space.choices)


def read_choices(data: Any) -> Choices:
    """Return choices from their JSON; raises `TypeError` or `ValueError` for anything else."""
    return tuple((str(name), tuple(map(str, values))) for name, values in data)


def require_choices(learnt: Choices, name: str, space: Space) -> None:
    """Raise `InputError` unless `space` has the choices that space `name` had at learning."""
    if learnt != choices_of(space):
        raise InputError(
            f"the prior was learnt on space {name!r} with other choices than space "
            f"{space.name!r} has; accepted: the space it was learnt on"
        )
