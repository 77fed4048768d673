"""Bayesian optimisation with Gaussian processes, and the architecture kernel that others share.

What needs GPyTorch is loaded on first use.
"""

from transnas.strategies.bayesian._candidates import Candidates, is_listable, kernel_of, listed
from transnas.strategies.bayesian._features import Features, Float, describe
from transnas.strategies.bayesian._kernel import Kernel
from transnas.strategies.bayesian._rewards import clip_low
from transnas.strategies.bayesian.architecture_bo import ArchitectureBO, ArchitectureSettings
from transnas.strategies.bayesian.strategy import BayesianOptimisation, BayesianSettings

__all__ = [
    "ArchitectureBO",
    "ArchitectureSettings",
    "BayesianOptimisation",
    "BayesianSettings",
    "Candidates",
    "Features",
    "Float",
    "Kernel",
    "clip_low",
    "describe",
    "is_listable",
    "kernel_of",
    "listed",
]
