"""Reports: one self-contained HTML page for studies and comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transnas._errors import InputError
from transnas.studies._whole import require_writable, write_whole
from transnas.studies.report._graph import draw_architecture, draw_graph
from transnas.studies.report._page import page
from transnas.studies.report._study import study_section

if TYPE_CHECKING:
    from transnas.studies._study import Study

__all__ = ["draw_architecture", "draw_graph", "report_html", "write_report"]


def report_html(studies: Sequence[Study], title: str | None = None) -> str:
    """Return the page as text; it refers to no other file and no network address."""
    if not studies:
        raise InputError("report needs at least one study; accepted: names of stored studies")
    sections = [
        (f"study-{i}", study.name, study_section(study, f"study-{i}"))
        for i, study in enumerate(studies, start=1)
    ]
    one = len(sections) == 1
    return page(title or (f"Search on {studies[0].task}" if one else "Studies"), sections)


def write_report(studies: Sequence[Study], path: str | Path, title: str | None = None) -> Path:
    """Write the page to `path`, whole or not at all, and return the path."""
    path = require_writable(path)
    return write_whole(path, report_html(studies, title))
