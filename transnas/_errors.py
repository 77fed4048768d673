"""The one exception for bad input, and the sentence it carries."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["InputError", "unknown"]


class InputError(ValueError):
    """What a user gave is not accepted.

    The message is one sentence: the field, the value, and what is accepted. The command line
    prints it and exits with code 2.
    """


def unknown(field: str, value: object, accepted: Iterable[str]) -> InputError:
    """Return an `InputError` for a name that is not known, with near misses suggested."""
    names = sorted(accepted)
    near = difflib.get_close_matches(str(value), names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    return InputError(f"{field} {value!r} is unknown; {hint}accepted: {', '.join(names) or 'none'}")
