"""CATCH: context-based meta-reinforcement learning for transferable architecture search.

Importing this registers the strategy and the prior `catch` and loads no torch; the rest comes on
first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from transnas.meta.catch.plus import CatchPlus, CatchPlusPrior, CatchPlusSettings
from transnas.meta.catch.prior import CatchPrior
from transnas.meta.catch.replicates import replicate_catch
from transnas.meta.catch.settings import CatchSettings
from transnas.meta.catch.strategy import CatchStrategy

if TYPE_CHECKING:
    from transnas.meta.catch.families import SyntheticFamily, TableFamily, TaskFamily
    from transnas.meta.catch.recorded import Recorded
    from transnas.meta.catch.subsets import SubsetFamily
    from transnas.meta.catch.surrogate import SurrogateFamily
    from transnas.meta.catch.trained import TrainedFamily
    from transnas.meta.catch.training import MetaTrained, meta_train

_LATER = {
    "MetaTrained": "training",
    "Recorded": "recorded",
    "SubsetFamily": "subsets",
    "SurrogateFamily": "surrogate",
    "SyntheticFamily": "families",
    "TableFamily": "families",
    "TaskFamily": "families",
    "TrainedFamily": "trained",
    "meta_train": "training",
}

__all__ = [
    "CatchPlus",
    "CatchPlusPrior",
    "CatchPlusSettings",
    "CatchPrior",
    "CatchSettings",
    "CatchStrategy",
    "MetaTrained",
    "Recorded",
    "SubsetFamily",
    "SurrogateFamily",
    "SyntheticFamily",
    "TableFamily",
    "TaskFamily",
    "TrainedFamily",
    "meta_train",
    "replicate_catch",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
