"""Bayesian optimisation with Gaussian processes. What needs GPyTorch is loaded on first use."""

from transnas.strategies.bayesian.listed import ArchitectureBO, ArchitectureSettings
from transnas.strategies.bayesian.strategy import BayesianOptimisation, BayesianSettings

__all__ = ["ArchitectureBO", "ArchitectureSettings", "BayesianOptimisation", "BayesianSettings"]
