"""The table of all trials: sortable, failures with their reasons, capped for long studies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.studies._duration import duration
from transnas.studies._trial import Trial
from transnas.studies.report._format import escape, metric_name, value

__all__ = ["failures", "trial_table"]

_MOST_BEST = 300
_MOST_WITHOUT = 100
_MOST_TEXT = 600


def trial_table(
    space: Space, trials: Sequence[Trial], ranked: Sequence[Trial], objectives: Sequence[Objective]
) -> str:
    """Return the table; `ranked` are the trials with a value, best first.

    The page shows the 300 best and the 100 latest without a result; a note says what is left out.
    """
    with_value = {t.number for t in ranked}
    without = [t for t in trials if t.number not in with_value]
    shown = sorted([*ranked[:_MOST_BEST], *without[-_MOST_WITHOUT:]], key=lambda t: t.number)
    note = ""
    if len(shown) < len(trials):
        note = (
            f"<p class='note'>{len(shown):,} of {len(trials):,} trials: the "
            f"{min(len(ranked), _MOST_BEST):,} best and the "
            f"{min(len(without), _MOST_WITHOUT):,} latest without a result.</p>"
        )
    heads = ["Trial", *(metric_name(o.metric) for o in objectives), "Cost", "Epochs"]
    head = "".join(_head(label, " class='n'") for label in heads)
    head += _head("Status") + _head("Architecture")
    best = ranked[0].number if ranked else None
    body = "".join(_row(space, t, objectives, t.number == best) for t in shown)
    return (
        f"{note}<div class='scroll tall'><table class='sortable'><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table></div>"
    )


def failures(trials: Sequence[Trial]) -> str:
    """Return how many trials gave no result and why, or an empty string."""
    reasons = Counter(_reason(t) for t in trials if t.status != "complete")
    if not reasons:
        return ""
    shown = reasons.most_common(8)
    items = "".join(
        f"<li><span class='pill bad'>{count:,} ×</span> {escape(reason)}</li>"
        for reason, count in shown
    )
    more = reasons.total() - sum(count for _, count in shown)
    tail = f"<li>{more:,} more with other reasons</li>" if more else ""
    return f"<ul class='reasons'>{items}{tail}</ul>"


def _reason(trial: Trial) -> str:
    lines = trial.measurement.error.strip().splitlines()
    return (lines[-1] if lines else trial.status)[:200]


def _row(space: Space, trial: Trial, objectives: Sequence[Objective], best: bool) -> str:
    cells = [_number(trial.number, str(trial.number))]
    for objective in objectives:
        number = objective.value(trial.measurement)
        cells.append(_number(number, value(objective.metric, number)))
    cost = trial.measurement.cost
    cells.append(_number(cost.seconds, duration(cost.seconds)))
    cells.append(_number(cost.epochs, f"{cost.epochs:g}"))
    kind = "good" if trial.status == "complete" else "bad"
    error = trial.measurement.error.strip()
    reason = f"<small class='reason'>{escape(error[:_MOST_TEXT])}</small>" if error else ""
    cells.append(f"<td><span class='pill {kind}'>{trial.status}</span>{reason}</td>")
    text = space.to_text(trial.architecture)[:_MOST_TEXT]
    cells.append(f"<td><code>{escape(text)}</code></td>")
    return f"<tr{' class=best' if best else ''}>{''.join(cells)}</tr>"


def _number(number: float, text: str) -> str:
    return f"<td class='n' data-v='{number!r}'>{escape(text)}</td>"


def _head(label: str, attributes: str = "") -> str:
    return f"<th scope='col'{attributes}><button type='button'>{escape(label)}</button></th>"
