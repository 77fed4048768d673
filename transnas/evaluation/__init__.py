"""How good one architecture is: training, tables, costs, proxies. Evaluators load on first use."""

import importlib
from typing import TYPE_CHECKING, Any

from transnas.evaluation._base import Cost, Evaluator, Found, Measurement, Objective, Status

if TYPE_CHECKING:
    from transnas.evaluation.combined import Combined
    from transnas.evaluation.cost import CostEvaluator
    from transnas.evaluation.device_table import DeviceTable
    from transnas.evaluation.inheriting import Inheriting
    from transnas.evaluation.latency import Latency
    from transnas.evaluation.latency_reward import LatencyReward
    from transnas.evaluation.recipe import Recipe
    from transnas.evaluation.table import Table
    from transnas.evaluation.training import Training
    from transnas.evaluation.zero_cost import ZeroCost

_LAZY = {
    "Combined": "combined",
    "CostEvaluator": "cost",
    "DeviceTable": "device_table",
    "Inheriting": "inheriting",
    "Latency": "latency",
    "LatencyReward": "latency_reward",
    "Recipe": "recipe",
    "Table": "table",
    "Training": "training",
    "ZeroCost": "zero_cost",
}

__all__ = [
    "Combined",
    "Cost",
    "CostEvaluator",
    "DeviceTable",
    "Evaluator",
    "Found",
    "Inheriting",
    "Latency",
    "LatencyReward",
    "Measurement",
    "Objective",
    "Recipe",
    "Status",
    "Table",
    "Training",
    "ZeroCost",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"transnas.evaluation.{_LAZY[name]}"), name)
    raise AttributeError(f"module 'transnas.evaluation' has no attribute {name!r}")
