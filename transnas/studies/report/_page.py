"""The page: sections in a template with the style sheet and the script inline."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.resources import files

import transnas
from transnas.studies.report._format import escape

__all__ = ["page"]


def page(title: str, sections: Sequence[tuple[str, str, str]]) -> str:
    """Return the complete HTML of sections (anchor, heading, HTML)."""
    here = files("transnas.studies.report")
    links = "".join(
        f"<li><a href='#{escape(anchor)}'>{escape(heading)}</a></li>"
        for anchor, heading, _ in sections
    )
    filled = {
        "title": escape(title),
        "style": (here / "page.css").read_text(encoding="utf-8").strip(),
        "contents": f"<ul class='contents'>{links}</ul>" if len(sections) > 1 else "",
        "version": escape(transnas.__version__),
        "written": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M"),
        "sections": "\n".join(html for *_, html in sections),
    }
    text = (here / "page.html").read_text(encoding="utf-8")
    before, *rest = text.split("@")
    # Split once, so that an @name@ inside what is filled in stays as it is.
    for name, after in zip(rest[::2], rest[1::2], strict=True):
        before += filled[name] + after
    return before
