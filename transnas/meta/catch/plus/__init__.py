"""catch+: the store model with what networks learnt on all source tables add to it.

Importing this registers the strategy and the prior `catch+` and loads no torch.
"""

from transnas.meta.catch.plus.prior import CatchPlusPrior, learn_plus
from transnas.meta.catch.plus.replicates import replicate_plus
from transnas.meta.catch.plus.settings import CatchPlusSettings
from transnas.meta.catch.plus.strategy import CatchPlus

__all__ = ["CatchPlus", "CatchPlusPrior", "CatchPlusSettings", "learn_plus", "replicate_plus"]
