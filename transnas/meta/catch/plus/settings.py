"""The settings of catch+; each part is a switch of its own."""

from __future__ import annotations

from dataclasses import dataclass

from transnas.strategies.settings import check_range, check_types

__all__ = ["CatchPlusSettings"]


@dataclass(frozen=True)
class CatchPlusSettings:
    """Settings of catch+. All off (0, False, False) is the store model."""

    prior: str = ""
    """Folder of a prior from `learn_plus`; empty: no earlier tasks, the store model's search."""
    latent_share: float = 0.3
    """Share of the learnt latent features in the kernel of what no source knows; 0: none."""
    learnt_mean: bool = True
    """Whether networks' predictions are averaged with the smoothed sources."""
    ensemble: bool = True
    """Whether the expected improvement is averaged with that of the plain store model."""

    def __post_init__(self) -> None:
        check_types(type(self), vars(self))
        check_range(self, "latent_share", least=0, below=1)
