"""A comparison of methods as a section of the page."""

from __future__ import annotations

import math
from itertools import groupby
from typing import TYPE_CHECKING

from transnas.studies._comparison import ALONE, CHANCE
from transnas.studies._counted import counted
from transnas.studies._duration import duration
from transnas.studies.report._charts import Line, chart
from transnas.studies.report._format import escape, metric_name, sentence, tick, value
from transnas.studies.report._origin import origin

if TYPE_CHECKING:
    from transnas.studies._comparison import Comparison, Row

__all__ = ["comparison_section"]


def comparison_section(comparison: Comparison, anchor: str) -> str:
    """Return the whole section of `comparison`; `anchor` is its id on the page."""
    metric = metric_name(comparison.metric)
    seeds = len(comparison.seeds)
    budget = counted(comparison.trials, "trial")
    if comparison.epochs is not None:
        budget += f" of {counted(comparison.epochs, 'epoch')}"
    intro = (
        f"Every method has the same budget: {budget} on each task, with "
        f"{counted(seeds, 'seed')}. Lines and numbers are means of the best {metric} so far; bands "
        "and brackets are 95% bootstrap intervals over the seeds."
    )
    if seeds == 1:
        intro += f" {ALONE}"
    if comparison.info.get("learn_from"):
        intro += (
            " What was learnt from earlier studies is the same for every seed: its interval says "
            "nothing of what other earlier studies would have given."
        )
    parts = [
        f"<h2>{escape(title(comparison))}</h2>{sentence(intro)}",
        f"<div class='columns'>{''.join(_curves(comparison, t) for t in comparison.tasks)}</div>",
        _table(comparison),
        origin(dict(comparison.info), {}),
    ]
    return f"<section id='{escape(anchor)}'>{''.join(parts)}</section>"


def title(comparison: Comparison) -> str:
    """Return the section's heading."""
    tasks = len(comparison.tasks)
    where = comparison.tasks[0] if tasks == 1 else f"{tasks} tasks"
    return f"Comparison of {counted(len(comparison.methods), 'method')} on {where}"


def _curves(comparison: Comparison, task: str) -> str:
    lines = []
    for arm in (a for a in comparison.arms if a.task == task):
        # Trials before every seed has a result have no mean to draw.
        start = sum(1 for m in arm.mean if math.isnan(m))
        xs = [float(i + 1) for i in range(start, len(arm.mean))]
        series = (arm.mean[start:], arm.low[start:], arm.high[start:])
        colour = comparison.methods.index(arm.method)
        lines.append(Line(arm.method, xs, *series, colour=colour))
    label = f"Best {metric_name(comparison.metric)} so far on {task}"
    return chart(
        label,
        "trials",
        lines,
        format_y=lambda y: tick(comparison.metric, y),
        window=comparison.window(task),
    )


def _table(comparison: Comparison) -> str:
    first = comparison.methods[0]
    heads = ("Method", f"Best {metric_name(comparison.metric)}", "95% interval")
    tests = (f"Against {first}", "p", f"Trials to {first}’s end", "Cost a seed")
    head = "".join(
        f"<th scope='col'{'' if i == 0 else ' class=n'}>{escape(h)}</th>"
        for i, h in enumerate((*heads, *tests))
    )
    body = ""
    for task, rows in groupby(comparison.rows(), key=lambda row: row.task):
        group = list(rows)
        sign = 1.0 if comparison.maximise else -1.0
        best = max(group, key=lambda row: sign * row.mean)
        body += f"<tr class='group'><th colspan='7' scope='rowgroup'>{escape(task)}</th></tr>"
        body += "".join(_row(comparison, row, row is best) for row in group)
        if task in comparison.chance:
            shown = escape(value(comparison.metric, comparison.chance[task]))
            body += f"<tr><td>{CHANCE}</td><td class='n'>{shown}</td>{'<td></td>' * 5}</tr>"
    note = (
        "p: Wilcoxon's signed-rank test over pairs of equal seeds, corrected after Holm for all "
        f"tests in the table. Trials to {first}’s end: the first trial at which the mean is as "
        "good as that method's final one."
    )
    if comparison.chance:
        note += (
            f" {CHANCE}: the expected best of as many different architectures drawn at random, "
            "computed from the whole table."
        )
    return (
        f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        f"</div><p></p>{sentence(note)}"
    )


def _row(comparison: Comparison, row: Row, best: bool) -> str:
    metric = comparison.metric
    tested = not math.isnan(row.p)
    cells = (
        value(metric, row.mean),
        f"{value(metric, row.low)} to {value(metric, row.high)}",
        _difference(metric, row.difference) if tested else "–",
        ("< 0.001" if row.p < 0.001 else f"{row.p:.3f}") if tested else "–",
        str(row.reached) if row.reached else "not reached",
        duration(row.seconds),
    )
    numbers = "".join(f"<td class='n'>{escape(cell)}</td>" for cell in cells)
    return f"<tr{' class=best' if best else ''}><td>{escape(row.method)}</td>{numbers}</tr>"


def _difference(metric: str, difference: float) -> str:
    if metric.endswith("accuracy"):
        return f"{100 * difference:+.2f} points"
    return f"{difference:+.3g}"
