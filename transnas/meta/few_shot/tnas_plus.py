"""T-NAS++: the search of T-NAS; what it decodes is meta-trained by the recipe of MAML++.

Lian et al., ICLR 2020. (The published code has no T-NAS++; equal sizes of the networks of both
methods in the paper say that they share the search.)
"""

from __future__ import annotations

from transnas.meta.few_shot.methods import register
from transnas.meta.few_shot.tnas import TNAS

__all__ = ["TNASPlus"]


@register("t-nas++")
class TNASPlus(TNAS):
    """T-NAS with another recipe for decoded architectures."""

    recipe = "maml++"
