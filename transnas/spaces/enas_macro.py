"""The ENAS macro space: twelve layers, an operation each, skips from any earlier layers.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.3.
6^12 2^66 = 1.606e29 networks, every one a different function. Codes are those of the released
code: 0 conv3, 1 sep3, 2 conv5, 3 sep5, 4 average and 5 maximum pooling.
"""

from __future__ import annotations

from transnas.spaces._base import Choice
from transnas.spaces._registry import register
from transnas.spaces._skips import ChainSpace, chain_choices

__all__ = ["OPERATIONS", "ChainSpace", "ENASMacro"]

OPERATIONS = ("conv_3x3", "sep_3x3", "conv_5x5", "sep_5x5", "avg_pool_3x3", "max_pool_3x3")


@register("enas-macro")
class ENASMacro(ChainSpace):
    """An operation reads the layer before; the layers that the bits choose are added to it."""

    name = "enas-macro"
    layers = 12
    tokens = (Choice("operation", OPERATIONS),)
    sequential = True
    choices = chain_choices(layers, tokens)
