"""The one exception for bad input, and the sentence it carries."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

__all__ = ["InputError", "require", "uninstalled", "unknown"]


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


def uninstalled(what: str, package: str, extra: str) -> InputError:
    """Return an `InputError` for an optional package; `extra` of ours installs it."""
    return InputError(
        f"{what} needs {package}, which is not installed; accepted after: "
        f"pip install 'transnas[{extra}]'"
    )


def require(what: str, module: str, extra: str) -> Any:
    """Return the imported `module` that `what` needs; raises `InputError` if it is absent."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise uninstalled(what, module, extra) from None
