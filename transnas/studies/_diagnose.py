"""`diagnose`: what the search phase of one-shot studies is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from transnas import tasks
from transnas._errors import InputError
from transnas.evaluation import Evaluator
from transnas.spaces import Architecture, Space
from transnas.studies._statistics import bootstrap_mean
from transnas.studies._storage import folder_beside
from transnas.studies._study import Study, load_study, task_of
from transnas.tasks import Task

__all__ = ["Diagnosis", "diagnose"]

Floats = npt.NDArray[np.float64]
_TOP = 0.1
_COLLAPSED = 0.5
"""Share of skip connections among a cell's operations from which it counts as collapsed: 4 of 8."""


@dataclass(frozen=True)
class Diagnosis:
    """Findings of one study. Accuracies in 0..1; NaN: not known from what is there."""

    study: str
    searches: int
    value: float
    """Mean of the objective over the searches' own architectures."""
    low: float
    high: float
    """95% bootstrap interval of that mean."""
    spread: float
    """Standard deviation over seeds."""
    random: float
    """Mean truth of the random architectures."""
    truth: float
    """Mean truth of what the searches derived."""
    tau: float
    """Kendall's tau-b between shared-weight accuracy and truth, over random architectures."""
    tau_recalibrated: float
    """The same with re-fitted statistics of normalisations."""
    tau_top: float
    """The same as `tau`, within the truly best tenth (at least five)."""
    precision: float
    """Which part of the best tenth by shared weights is in the truly best tenth."""
    skips: float
    """Mean share of skip connections in the derived architectures."""
    collapsed: int
    """Searches whose architecture (of several kinds of cell the first, the normal one) is half
    skip connections or more, or has no operation with weights where the space has some."""
    entropy: float
    """Mean entropy of the architecture's weights at the end, 1 for uniform ones."""
    gap: float
    """Accuracy of the supernet less that of what it derives, with the same weights."""

    def to_json(self) -> str:
        """Return the findings as JSON; NaN becomes null."""
        data = asdict(self)
        plain = {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in data.items()}
        return json.dumps(plain, indent=1)


def diagnose(
    study: str | Study,
    storage: str = "sqlite:///transnas.db",
    truth: str | Task | Evaluator | None = None,
    architectures: int = 100,
    seed: int = 0,
    task: str | Path | Task | None = None,
) -> Diagnosis:
    """Return what can be said of a study's one-shot searches.

    `truth` says what architectures are really worth: a table (a task's name such as
    `nasbench201/cifar10`), or an evaluator; None: rank correlations are left out. They are
    means over the searches that came to their end, and need their checkpoints, which lie beside an
    SQLite or journal storage, and their data (`task`, where these are the user's own). Random
    architectures are drawn by `seed`.

    Raises `InputError` for a study without finished one-shot searches, or a truth of another space.
    """
    from transnas.oneshot._indicators import skip_share

    found = study if isinstance(study, Study) else load_study(study, storage)
    trials = [t for t in found.trials if t.measurement.found and t.status == "complete"]
    if not trials:
        raise InputError(
            f"study {found.name!r} has no finished one-shot search; accepted: a study of a "
            "method that trains one supernet"
        )
    if architectures < 10:
        raise InputError(f"architectures {architectures} are too few; accepted: 10 or more")
    values = np.array([found.objectives[0].value(t.measurement) for t in trials])
    mean, low, high = (float(v[0]) for v in bootstrap_mean(values[:, None]))
    worth = None if truth is None else _Truth(truth, found.space)
    archs = _drawn(found.space, architectures, seed)
    truths = None if worth is None else worth.of(archs)
    ranks = [] if truths is None else _ranks(found, task, archs, truths)
    skips = np.array([_part(t.metrics, "skips", found.space) for t in trials])
    normal = np.array([skip_share(found.space, t.architecture) for t in trials])
    parametric = np.array([t.metrics.get("parametric", math.nan) for t in trials])
    return Diagnosis(
        study=found.name,
        searches=len(trials),
        value=mean,
        low=low,
        high=high,
        spread=float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        random=math.nan if truths is None else _mean(truths),
        truth=math.nan if worth is None else _mean(worth.of([t.architecture for t in trials])),
        **{name: _mean([r[name] for r in ranks]) for name in _RANKS},
        skips=float(skips.mean()),
        collapsed=int(((normal >= _COLLAPSED) | (parametric == 0)).sum()),
        entropy=_mean([t.metrics.get("entropy", math.nan) for t in trials]),
        gap=_mean([_gap(t.metrics) for t in trials]),
    )


_RANKS = ("tau", "tau_recalibrated", "tau_top", "precision")


class _Truth:
    """What architectures are really worth."""

    def __init__(self, given: str | Task | Evaluator, space: Space) -> None:
        from transnas.evaluation.table import Table
        from transnas.tasks import TableTask

        if isinstance(given, Evaluator):
            self._evaluator: Evaluator = given
            return
        task = given if isinstance(given, Task) else tasks.get(given)
        if not isinstance(task, TableTask) or task.space != space.name:
            raise InputError(
                f"truth {task.name!r} is no table of space {space.name!r}; accepted: one that is"
            )
        self._evaluator = Table(task)

    def of(self, archs: Sequence[Architecture]) -> Floats:
        """Return the worth of each architecture."""
        measured = [self._evaluator.evaluate(arch) for arch in archs]
        return np.array([m.metrics["validation_accuracy"] for m in measured])


def _ranks(
    study: Study, task: str | Path | Task | None, archs: Sequence[Architecture], truth: Floats
) -> list[dict[str, float]]:
    """Return the rank statistics of each finished search whose checkpoint is there."""
    from transnas.oneshot import load_search
    from transnas.oneshot._ranking import kendall, precision_at, shared_accuracy

    folder = folder_beside(study.storage, study.name)
    paths = sorted(folder.glob("search-*.safetensors")) if folder and folder.is_dir() else []
    if not paths:
        raise InputError(
            f"study {study.name!r} has no checkpoints of its searches beside {study.storage}; "
            "accepted: a study in an SQLite or journal file with its .checkpoints folder"
        )
    data = task_of(study, task)
    top = max(5, round(_TOP * len(archs)))
    best = np.argsort(-truth, kind="stable")[:top]
    found = []
    for path in paths:
        search = load_search(path, data, study.space)
        if search.epoch < search.settings.epochs and not search.stopped:
            continue  # under way, or interrupted
        scores = np.array([shared_accuracy(search, arch, False) for arch in archs])
        refitted = np.array([shared_accuracy(search, arch, True) for arch in archs])
        found.append(
            {
                "tau": kendall(scores, truth),
                "tau_recalibrated": kendall(refitted, truth),
                "tau_top": kendall(scores[best], truth[best]),
                "precision": precision_at(top, scores, truth),
            }
        )
    return found


def _drawn(space: Space, count: int, seed: int) -> list[Architecture]:
    """Return different architectures, drawn uniformly."""
    rng = np.random.default_rng(seed)
    found: dict[Architecture, None] = {}
    while len(found) < min(count, space.size):
        found.setdefault(space.sample(rng))
    return list(found)


def _part(metrics: Mapping[str, float], name: str, space: Space) -> float:
    """Return a count of operations as a part of those that there are."""
    from transnas.oneshot._indicators import is_skip

    operations = [c for c in space.choices if any(map(is_skip, c.values))]
    return metrics[name] / max(1, len(operations))


def _gap(metrics: Mapping[str, float]) -> float:
    known = ("supernet_accuracy", "derived_accuracy")
    return metrics[known[0]] - metrics[known[1]] if set(known) <= set(metrics) else math.nan


def _mean(values: Any) -> float:
    """Return the mean of the known values; NaN if there are none."""
    known = [v for v in values if not math.isnan(v)]
    return float(np.mean(known)) if known else math.nan


def rows(diagnosis: Diagnosis) -> list[tuple[str, float]]:
    """Return names and numbers of the findings that are known, for printing."""
    pairs = [(f.name, getattr(diagnosis, f.name)) for f in fields(diagnosis)][1:]
    return [(name, float(v)) for name, v in pairs if not math.isnan(v)]
