"""Which choices matter: importance by functional ANOVA."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from transnas.evaluation import Objective
from transnas.spaces import Space
from transnas.studies._storage import quiet_optuna
from transnas.studies._trial import Codec, Trial
from transnas.studies.report._charts import bars
from transnas.studies.report._format import metric_name, panel, sentence

__all__ = ["LEAST_TRIALS", "importance", "importance_figure"]

LEAST_TRIALS = 10
"""With fewer complete trials, an importance would be noise."""
_MOST_TRIALS = 512
_MOST_BARS = 16


def importance(space: Space, trials: Sequence[Trial], objective: Objective) -> dict[str, float]:
    """Return each choice's share of what single choices explain (fANOVA), greatest first.

    `trials` have finite values; long studies are thinned evenly. Empty if nothing varies.
    """
    import optuna

    codec = Codec(space, (objective,))
    kept = trials[:: 1 + (len(trials) - 1) // _MOST_TRIALS]
    frozen = [
        optuna.trial.create_trial(
            params=codec.params(trial.architecture),
            distributions=codec.distributions,
            value=objective.value(trial.measurement),
        )
        for trial in kept
    ]
    if np.ptp([t.value for t in frozen]) == 0:
        return {}
    with quiet_optuna():
        study = optuna.create_study()
        study.add_trials(frozen)
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, max_depth=32, seed=0)
        return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))


def importance_figure(space: Space, trials: Sequence[Trial], objective: Objective) -> str:
    """Return bars of `importance`, or a sentence where it cannot be told."""
    title = "Importance of each choice"
    if len(trials) < LEAST_TRIALS:
        few = f"Needs {LEAST_TRIALS} complete trials; this study has {len(trials)}."
        return panel(title, sentence(few))
    shares = importance(space, trials, objective)
    if not shares:
        equal = "Every trial has the same value, so no choice can be told apart."
        return panel(title, sentence(equal))
    note = (
        f"What each choice alone explains of the differences in {metric_name(objective.metric)} "
        "between trials; all choices together are 100% (fANOVA)."
    )
    shown = list(shares.items())[:_MOST_BARS]
    return bars(title, shown, lambda share: f"{100 * share:.0f}%", note)
