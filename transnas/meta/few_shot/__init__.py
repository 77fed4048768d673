"""Few-shot learning and search: many small tasks, one initialisation, a few gradient steps each.

MAML, ANIL, Reptile and MAML++ meta-learn the weights of a fixed network; Auto-MAML adds one
architecture for all tasks, T-NAS (Lian et al., ICLR 2020) one for each. A method is a subclass of
`Learner` under `methods.register`. Importing this registers the prior and the strategy `few-shot`
and loads no torch; the rest comes on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from transnas.meta.few_shot import methods
from transnas.meta.few_shot.prior import FewShotPrior
from transnas.meta.few_shot.settings import (
    FamilySettings,
    MAMLPlusSettings,
    SearchSettings,
    Settings,
    TNASSettings,
)
from transnas.meta.few_shot.strategy import FewShotStrategy

if TYPE_CHECKING:
    from transnas.meta.few_shot._execution import Execution
    from transnas.meta.few_shot._learner import Learner, MetaGradient
    from transnas.meta.few_shot.adapted import Adapted
    from transnas.meta.few_shot.decoding import decode, diversity
    from transnas.meta.few_shot.evaluation import Evaluation, evaluate
    from transnas.meta.few_shot.learning import learn
    from transnas.meta.few_shot.state import State
    from transnas.meta.few_shot.training import Diverged, Plan, Trained, meta_train

_LATER = {
    "Adapted": "adapted",
    "Diverged": "training",
    "Evaluation": "evaluation",
    "Execution": "_execution",
    "Learner": "_learner",
    "MetaGradient": "_learner",
    "Plan": "training",
    "State": "state",
    "Trained": "training",
    "decode": "decoding",
    "diversity": "decoding",
    "evaluate": "evaluation",
    "learn": "learning",
    "meta_train": "training",
}

__all__ = [
    "Adapted",
    "Diverged",
    "Evaluation",
    "Execution",
    "FamilySettings",
    "FewShotPrior",
    "FewShotStrategy",
    "Learner",
    "MAMLPlusSettings",
    "MetaGradient",
    "Plan",
    "SearchSettings",
    "Settings",
    "State",
    "TNASSettings",
    "Trained",
    "decode",
    "diversity",
    "evaluate",
    "learn",
    "meta_train",
    "methods",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
