"""Where results come from: the command that repeats them, versions and machine."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from transnas.studies._storage import label_of
from transnas.studies.report._format import escape, sentence

__all__ = ["origin"]


def origin(info: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    """Return a heading, the command in `info`, and a table of `facts` and the rest of `info`."""
    command = label_of(str(info.get("command") or ""))
    shown = {**facts, **{key: fact for key, fact in info.items() if key != "command"}}
    rows = "".join(
        f"<tr><th scope='row'>{escape(key.replace('_', ' '))}</th><td>{_fact(fact)}</td></tr>"
        for key, fact in shown.items()
        if fact not in (None, "", [], (), {})
    )
    again = "The same command continues it, or repeats it on an empty storage."
    repeat = f"{sentence(again)}<code class='block command'>{escape(command)}</code>"
    table = f"<div class='scroll'><table class='plain'>{rows}</table></div>"
    return f"<h3>Where it comes from</h3>{repeat if command else ''}{table}"


def _fact(fact: object) -> str:
    if isinstance(fact, Mapping):
        return ", ".join(f"{escape(key)} {_fact(inner)}" for key, inner in fact.items())
    if isinstance(fact, list | tuple):
        return ", ".join(_fact(inner) for inner in fact)
    text = fact if isinstance(fact, str) else json.dumps(fact, default=str)
    return escape(label_of(text))
