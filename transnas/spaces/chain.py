"""A chain of convolutions with anchors: the first searched space of convolutional networks.

Zoph & Le, "Neural Architecture Search with Reinforcement Learning", ICLR 2017, section 3.3, with
six layers and without strides. 64^6 2^15 = 2.25e15 networks.
"""

from __future__ import annotations

from transnas.spaces._base import Choice
from transnas.spaces._registry import register
from transnas.spaces._skips import ChainSpace, chain_choices

__all__ = ["ChainSpace", "ConvolutionChain"]

_SIZES = ("1", "3", "5", "7")


@register("chain")
class ConvolutionChain(ChainSpace):
    """Anchors are a layer's inputs, concatenated; a layer without any reads the image."""

    name = "chain"
    layers = 6
    tokens = (
        Choice("height", _SIZES),
        Choice("width", _SIZES),
        Choice("filters", ("24", "36", "48", "64")),
    )
    sequential = False
    choices = chain_choices(layers, tokens)
