"""Options that take several values: `--methods a b` beside `--methods a --methods b`."""

from __future__ import annotations

from collections.abc import Sequence

from typer.core import TyperCommand, TyperOption

__all__ = ["VariadicCommand", "spread"]


class VariadicCommand(TyperCommand):
    """A command without arguments whose repeatable options take all values up to the next one."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def] # click's own types are private
        """Parse `args` with every repeatable option written once a value."""
        repeatable = [
            name
            for parameter in self.params
            if isinstance(parameter, TyperOption) and parameter.multiple
            for name in parameter.opts
        ]
        return super().parse_args(ctx, spread(args, repeatable))


def spread(args: Sequence[str], repeatable: Sequence[str]) -> list[str]:
    """Return `args` with `--option a b` of the options in `repeatable` as `--option a --option b`.

    A value that begins with a dash must be written as `--option=-a`.
    """
    found: list[str] = []
    current, filled = "", False
    for arg in args:
        if arg.startswith("-"):
            current, filled = (arg if arg in repeatable else ""), False
            found.append(arg)
        elif current and filled:
            found += [current, arg]
        else:
            found.append(arg)
            filled = True
    return found
