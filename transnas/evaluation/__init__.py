"""How good one architecture is: training, tables, latency, cost."""

from transnas.evaluation._base import Cost, Evaluator, Measurement, Objective, Status

__all__ = ["Cost", "Evaluator", "Measurement", "Objective", "Status"]
