"""`main`: runs a command and turns every expected error into one sentence and an exit code."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, TextIO

import typer

from transnas._errors import InputError, unknown
from transnas.cli._app import app

__all__ = ["main"]

_CONTINUED = ("search", "adapt", "learn", "interleave", "compare", "train")
"""Commands that keep what they have done."""
BAD_INPUT, FAILED, INTERRUPTED = 2, 1, 130

_UsageError: Any = typer.BadParameter.__mro__[1]
"""The base of all usage errors; typer carries its own click, which has no public name for it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line with `argv` (default: the process's) and return the exit code.

    0: done; 1: the work failed; 2: something given is not accepted; 130: stopped by Ctrl-C. Errors
    are one sentence on standard error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        try:
            code = app(arguments, prog_name="transnas", standalone_mode=False, obj=arguments)
        except InputError as error:
            return _say(f"error: {error}", BAD_INPUT)
        except _UsageError as error:
            return _say(f"error: {_usage(error)}", BAD_INPUT)
        except (KeyboardInterrupt, typer.Abort):
            return _say(_stopped(arguments), INTERRUPTED)
        except BrokenPipeError:
            # The reader went away (`transnas list tasks | head -1`); let Python close in peace.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception as error:
            if not _expected(error):
                raise
            return _say(f"error: {error}", FAILED)
    if code == INTERRUPTED:
        return _say(_stopped(arguments), INTERRUPTED)
    return code if isinstance(code, int) else 0


def _expected(error: Exception) -> bool:
    """Return whether `error` is a failed search, storage or training, whose message says all."""
    from transnas.evaluation.training import Stopped
    from transnas.meta.few_shot import Diverged
    from transnas.studies import SearchError, StorageError

    return isinstance(error, (SearchError, StorageError, Stopped, Diverged))


def _usage(error: Any) -> str:
    """Return what typer does not accept, in the words of all other errors.

    Errors are told apart by what they know: their classes have no public names. The cause of one
    about a value's type is pydantic's, which says what the value was and what it should be.
    """
    if hasattr(error.__cause__, "errors"):
        fault = error.__cause__.errors()[0]
        kind = "an integer" if fault["type"].startswith("int") else "a number"
        return f"{_field(error.param.name)} {fault['input']!r} is not accepted; accepted: {kind}"
    if hasattr(error, "possibilities"):
        accepted = [name for param in error.ctx.command.params for name in param.opts]
        return str(unknown("option", error.option_name, (n for n in accepted if n[0] == "-")))
    if hasattr(error, "option_name"):
        name, wants = error.option_name, "requires" in error.message  # else: it is a switch
        has, given = ("no value", "with a") if wants else ("a value", "without a")
        return f"{_field(name)} has {has}; accepted: {name} {given} value"
    if hasattr(error, "param_type"):
        name, shown = error.param.opts[0], error.param.metavar or error.param.name.upper()
        given = f"{name} with a value" if name.startswith("-") else shown
        return f"{_field(error.param.name)} is missing; accepted: {given}"
    return str(error.format_message())


def _field(name: str) -> str:
    """Return the name of an option or argument as sentences have it."""
    return name.strip("-_").replace("_", " ").replace("-", " ")


def _stopped(arguments: Sequence[str]) -> str:
    """Return what Ctrl-C left: whether the same command goes on or does all of it again."""
    at_once = any(argument.partition("=")[0] == "--shots" for argument in arguments)
    kept = bool(arguments) and arguments[0] in _CONTINUED and not at_once
    return f"stopped; the same command {'continues where it was' if kept else 'begins anew'}"


def _say(sentence: str, code: int) -> int:
    print(" ".join(sentence.split()), file=sys.stderr)
    return code


def _one_line(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"warning: {message}", file=file or sys.stderr)
