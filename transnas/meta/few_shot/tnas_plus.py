"""T-NAS++: the search of T-NAS; what it decodes is meta-trained by the recipe of MAML++.

Lian et al., ICLR 2020. (The published code has no T-NAS++; equal sizes of the networks of both
methods in the paper say that they share the search.)
"""

from __future__ import annotations

from dataclasses import dataclass

from transnas.meta.few_shot.methods import register
from transnas.meta.few_shot.settings import TNASSettings
from transnas.meta.few_shot.tnas import TNAS

__all__ = ["TNASPlus", "TNASPlusSettings"]


@dataclass(frozen=True)
class TNASPlusSettings(TNASSettings):
    """T-NAS's, with the annealing of MAML++ in search and recipe."""

    annealed_to: float | None = 1e-5


@register("t-nas++")
class TNASPlus(TNAS):
    """T-NAS with another recipe for decoded architectures."""

    Settings = TNASPlusSettings
    recipe = "maml++"
