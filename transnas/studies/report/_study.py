"""One study as a section of the page."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Mapping, Sequence
from itertools import accumulate
from statistics import median
from typing import TYPE_CHECKING, Any

from transnas.evaluation import Objective
from transnas.studies._counted import counted
from transnas.studies._duration import duration
from transnas.studies._trial import Trial
from transnas.studies.report._charts import Line, Point, chart
from transnas.studies.report._format import (
    capitalised,
    escape,
    metric_name,
    panel,
    sentence,
    tick,
    tiles,
    value,
)
from transnas.studies.report._graph import draw_architecture
from transnas.studies.report._importance import importance_figure
from transnas.studies.report._oneshot import search_figures
from transnas.studies.report._origin import origin
from transnas.studies.report._parallel import parallel_figure
from transnas.studies.report._trials import failures, trial_table

if TYPE_CHECKING:
    from transnas.studies._study import Study
    from transnas.studies.pictures import Picture

__all__ = ["study_section"]

_TOP_CURVES = 5
_SPREAD = 3.0
"""Charts reach this far below the median, in distances from the median to the best."""
_MOST_METRICS = 12


def study_section(study: Study, anchor: str, pictures: Sequence[Picture] = ()) -> str:
    """Return the whole section of `study`; `anchor` is its id on the page."""
    trials = study.trials
    objective = study.objectives[0]
    rewards = study.rewards()
    valued = [t for t, reward in zip(trials, rewards, strict=True) if not math.isnan(reward)]
    ranked = sorted(valued, key=lambda t: -objective.reward(t.measurement))
    parts = [
        _heading(study, anchor),
        _tiles(trials, ranked, study.objectives),
        f"<div class='columns'>{_incumbent(study, ranked)}"
        f"<div class='stack'>{_progress(study)}</div></div>",
        _pictures(pictures),
        search_figures(study.space, ranked),
        _choices(study, valued, objective),
        _outcomes(study, ranked),
        _finals(study.final_tests),
        f"<h3>All trials</h3>{failures(trials)}"
        f"{trial_table(study.space, trials, ranked, study.objectives)}",
        origin({k: v for k, v in study.info.items() if k != "learn_from"}, _facts(study)),
    ]
    return f"<section id='{escape(anchor)}'>{''.join(parts)}</section>"


def _heading(study: Study, anchor: str) -> str:
    facts = [("task", study.task), ("space", study.space.name), ("strategy", study.strategy)]
    words = "".join(f"<span><b>{k}</b> {escape(v)}</span>" for k, v in facts)
    return f"<h2>{escape(study.name)}</h2><p class='facts'>{words}</p>"


def _tiles(
    trials: Sequence[Trial], ranked: Sequence[Trial], objectives: Sequence[Objective]
) -> str:
    objective = objectives[0]
    best = ranked[0] if ranked else None
    shown = value(objective.metric, objective.value(best.measurement)) if best else "–"
    seconds = sum(t.measurement.cost.seconds for t in trials)
    epochs = sum(t.measurement.cost.epochs for t in trials)
    where = ", ".join(sorted({t.measurement.cost.device for t in trials} - {""})) or "unknown"
    failed = len(trials) - len(ranked)
    rows = [
        (shown, f"best {metric_name(objective.metric)}", f"trial {best.number}" if best else ""),
        (
            f"{len(trials):,}",
            "trial" if len(trials) == 1 else "trials",
            f"{failed:,} without a result" if failed else "all complete",
        ),
        (duration(seconds), "spent on evaluations", where),
        (f"{epochs:,.0f}", "epochs of training", _until(trials, best)),
    ]
    return tiles(rows)


def _until(trials: Sequence[Trial], best: Trial | None) -> str:
    if best is None:
        return ""
    spent = sum(t.measurement.cost.epochs for t in trials if t.number <= best.number)
    return f"best found after {spent:,.0f}"


def _incumbent(study: Study, ranked: Sequence[Trial]) -> str:
    if not ranked:
        return panel("Best architecture", sentence("No trial has a result yet."))
    best = ranked[0]
    text = study.space.to_text(best.architecture)
    metrics = "".join(
        f"<tr><th scope='row'>{escape(metric_name(name))}</th>"
        f"<td class='n'>{escape(value(name, number))}</td></tr>"
        for name, number in sorted(best.metrics.items())[:_MOST_METRICS]
    )
    body = (
        f"{draw_architecture(study.space, best.architecture)}"
        f"<code class='block'>{escape(text)}</code><table class='plain'>{metrics}</table>"
    )
    return panel(f"Best architecture (trial {best.number})", body, "incumbent")


def _progress(study: Study) -> str:
    """Return the value of trials and incumbent against trials, and against cost."""
    trials, objective = study.trials, study.objectives[0]
    metric = objective.metric
    spent = list(accumulate(t.measurement.cost.seconds for t in trials))
    points = []
    for i, trial in enumerate(trials):
        number = objective.value(trial.measurement)
        if math.isfinite(number):
            points.append((i, number, f"trial {trial.number}: {value(metric, number)}"))
    if not points:
        return ""
    # Only full trainings count: what was stopped early is a point without a result.
    steps = [(i, v) for i, _, v in study.incumbents()]
    steps += [(len(trials) - 1, v) for _, v in steps[-1:]]
    unit, name = _unit(spent[-1])
    window = _window([v for _, v, _ in points], objective)
    hidden = sum(not window[0] <= v <= window[1] for _, v, _ in points)
    charts = []
    for xs, label in (
        ([float(i + 1) for i in range(len(trials))], "trials"),
        ([s / unit for s in spent], f"cumulative cost ({name})"),
    ):
        line = Line("best so far", [xs[i] for i, _ in steps], [v for _, v in steps], stepped=True)
        charts.append(
            chart(
                f"{capitalised(metric_name(metric))} against {label}",
                label,
                [line],
                [Point(xs[i], v, text) for i, v, text in points],
                format_y=lambda y: tick(metric, y),
                note=f"Outside of the picture: {counted(hidden, 'trial')}." if hidden else "",
                window=window if hidden else None,
            )
        )
    return "".join(charts if spent[-1] > 0 else charts[:1])


def _window(values: Sequence[float], objective: Objective) -> tuple[float, float]:
    """Return the values worth drawing; a few very bad trials would flatten all the others."""
    low, high, middle = min(values), max(values), median(values)
    if objective.maximise:
        return max(low, middle - _SPREAD * (high - middle)) if high > middle else low, high
    return low, min(high, middle + _SPREAD * (middle - low)) if low < middle else high


def _pictures(pictures: Sequence[Picture]) -> str:
    """Return what the best network predicts on validation images."""
    if not pictures:
        return ""
    figures = "".join(
        f"<figure><img style='width:100%' alt='{escape(p.caption)}' "
        f"src='data:image/jpeg;base64,{b64encode(p.jpeg).decode()}'/>"
        f"<figcaption>{escape(p.caption)}</figcaption></figure>"
        for p in pictures
    )
    note, kind = "what the best network says, trained as its trial was.", "small"
    if pictures[0].paired:
        note, kind = f"Left: the truth. Right: {note}", "even"
    colours = {name: colour for p in pictures for name, colour in p.colours.items()}
    keys = "".join(
        f"<span><i style='background:{colour}'></i>{escape(name)}</span>"
        for name, colour in colours.items()
    )
    legend = f"<div class='legend patches'>{keys}</div>" if keys else ""
    return (
        f"<h3>Predictions</h3>{sentence(capitalised(note))}{legend}"
        f"<div class='columns {kind}'>{figures}</div>"
    )


def _choices(study: Study, valued: Sequence[Trial], objective: Objective) -> str:
    return (
        "<h3>What the choices did</h3><div class='columns choices'>"
        f"{importance_figure(study.space, valued, objective)}"
        f"{parallel_figure(study.space, valued, objective)}</div>"
    )


def _outcomes(study: Study, ranked: Sequence[Trial]) -> str:
    """Return Pareto fronts and learning curves, where the study has them."""
    figures = [_front(study, other) for other in study.objectives[1:]]
    figures.append(_curves(ranked, study.objectives[0].metric))
    found = "".join(figures)
    return f"<div class='columns even'>{found}</div>" if found else ""


def _front(study: Study, other: Objective) -> str:
    first = study.objectives[0]
    front = {t.number for t in study.front}
    points = []
    for trial in study.trials:
        x, y = other.value(trial.measurement), first.value(trial.measurement)
        if math.isfinite(x) and math.isfinite(y):
            text = f"trial {trial.number}: {value(other.metric, x)}, {value(first.metric, y)}"
            points.append(Point(x, y, text, strong=trial.number in front))
    shown = _within(points, other, first)
    # A front is a staircase: up to the next point, what is given up on `other` brings nothing.
    edge = sorted(((p.x, p.y) for p in shown if p.strong), reverse=other.maximise)
    line = Line("front", [x for x, _ in edge], [y for _, y in edge], stepped=True, colour=1)
    note = f"On the front (large dots): {counted(len(front), 'trial')} that no other beats in all."
    if len(shown) < len(points):
        lost = sum(p.strong for p in points) - len(edge)
        among = f", {lost:,} of the front" if lost else ""
        note += f" Outside of the picture: {counted(len(points) - len(shown), 'trial')}{among}."
    return chart(
        f"Pareto front: {metric_name(first.metric)} against {metric_name(other.metric)}",
        metric_name(other.metric),
        [line] if len(study.objectives) == 2 else [],
        sorted(shown, key=lambda p: p.strong),
        format_x=lambda x: tick(other.metric, x),
        format_y=lambda y: tick(first.metric, y),
        note=note,
    )


def _within(points: Sequence[Point], across: Objective, up: Objective) -> list[Point]:
    """Return the points worth drawing on both axes; a point far off would flatten all others."""
    if not points:
        return []
    left, right = _window([p.x for p in points], across)
    low, high = _window([p.y for p in points], up)
    return [p for p in points if left <= p.x <= right and low <= p.y <= high]


def _curves(ranked: Sequence[Trial], metric: str) -> str:
    lines: list[Line] = []
    for trial in ranked[:_TOP_CURVES]:
        known = [(e, p[metric]) for e, p in enumerate(trial.measurement.curve, 1) if metric in p]
        known = [(e, v) for e, v in known if math.isfinite(v)]
        if known:
            xs, ys = [float(e) for e, _ in known], [v for _, v in known]
            lines.append(Line(f"trial {trial.number}", xs, ys, colour=len(lines)))
    title = f"Learning curves of the best trials: {metric_name(metric)}"
    return chart(title, "epochs", lines, format_y=lambda y: tick(metric, y))


def _finals(tests: Sequence[Mapping[str, Any]]) -> str:
    if not tests:
        none = "None recorded: no network of this study has seen test data."
        return f"<h3>Final tests</h3>{sentence(none)}"
    rows = "".join(
        f"<tr><td>{escape(t.get('subject', ''))}</td><td>{_metrics(t.get('metrics', {}))}</td>"
        f"<td>{escape(str(t.get('at', ''))[:19].replace('T', ' '))}</td></tr>"
        for t in tests
    )
    return (
        "<h3>Final tests</h3><p class='note'>Every look at test data is recorded here.</p>"
        "<div class='scroll'><table class='tests'><thead><tr><th>Subject</th><th>Test metrics</th>"
        f"<th>When (UTC)</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _metrics(metrics: Mapping[str, float]) -> str:
    return ", ".join(
        f"<b class='n'>{escape(value(name, number))}</b> {escape(metric_name(name))}"
        for name, number in metrics.items()
    )


def _facts(study: Study) -> dict[str, Any]:
    return {
        "seed": study.seed,
        "epochs a trial": study.budget,
        "settings": study.settings or "defaults",
        "learnt from": [
            f"{source['study']} ({counted(source['trials'], 'trial')}, {source['storage']})"
            for source in study.info.get("learn_from", ())
        ],
        "storage": study.storage,
    }


def _unit(seconds: float) -> tuple[float, str]:
    """Return a unit of time in which `seconds` is a handy number, and its name."""
    for unit, name in ((86400.0, "days"), (3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 3 * unit:
            return unit, name
    return 1.0, "seconds"
