"""Interleaved multi-task architecture search (IMTNAS): K tasks in turn, one architecture.

The encoder of every task is a supernet of a differentiable search: its architecture is shared,
its weights are not. In each of M rounds the tasks are visited one after another; knowledge passes
from stage to stage by a transfer term; then the architecture takes one step on the tasks'
normalised validation losses.
"""

from transnas.meta.interleaved.algorithm import Interleaving, Progress
from transnas.meta.interleaved.history import Cost, History
from transnas.meta.interleaved.methods import METHODS
from transnas.meta.interleaved.settings import PRESETS, InterleaveSettings, Preset
from transnas.meta.interleaved.setup import shared_skeleton
from transnas.meta.interleaved.stages import Stage, stages

__all__ = [
    "METHODS",
    "PRESETS",
    "Cost",
    "History",
    "InterleaveSettings",
    "Interleaving",
    "Preset",
    "Progress",
    "Stage",
    "shared_skeleton",
    "stages",
]
