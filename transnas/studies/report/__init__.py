"""Reports: one self-contained HTML page for studies and comparisons."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transnas._errors import InputError
from transnas.studies._whole import require_writable, write_whole
from transnas.studies.report._comparison import comparison_section
from transnas.studies.report._comparison import title as comparison_title
from transnas.studies.report._format import value as format_value
from transnas.studies.report._graph import draw_architecture, draw_graph, standalone_drawing
from transnas.studies.report._page import page
from transnas.studies.report._study import study_section

if TYPE_CHECKING:
    from transnas.studies._comparison import Comparison
    from transnas.studies._study import Study
    from transnas.studies.pictures import Picture

__all__ = [
    "draw_architecture",
    "draw_graph",
    "format_value",
    "report_html",
    "standalone_drawing",
    "write_report",
]


def report_html(
    studies: Sequence[Study],
    title: str | None = None,
    comparisons: Sequence[Comparison] = (),
    pictures: Mapping[str, Sequence[Picture]] | None = None,
) -> str:
    """Return the page as text; it refers to no other file and no network address.

    `pictures` are shown in the section of the study of that name (see `studies.pictures`).
    """
    shown = pictures or {}
    sections = [
        (f"study-{i}", study.name, study_section(study, f"study-{i}", shown.get(study.name, ())))
        for i, study in enumerate(studies, start=1)
    ]
    sections += [
        (f"comparison-{i}", comparison_title(c), comparison_section(c, f"comparison-{i}"))
        for i, c in enumerate(comparisons, start=1)
    ]
    if not sections:
        raise InputError("report is empty; accepted: one study or comparison, or more")
    if not studies:
        usual = "Comparison of methods" if len(sections) == 1 else "Comparisons of methods"
    else:
        usual = f"Search on {studies[0].task}" if len(sections) == 1 else "Searches"
    return page(title or usual, sections)


def write_report(
    studies: Sequence[Study],
    path: str | Path,
    title: str | None = None,
    comparisons: Sequence[Comparison] = (),
    pictures: Mapping[str, Sequence[Picture]] | None = None,
) -> Path:
    """Write the page to `path`, whole or not at all, and return the path."""
    path = require_writable(path)
    return write_whole(path, report_html(studies, title, comparisons, pictures))
