"""A few-shot prior as a search strategy for larger tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transnas._errors import InputError
from transnas.evaluation import Measurement, Objective
from transnas.spaces import Architecture, Space
from transnas.strategies import Strategy, generator_state, register, restore_generator
from transnas.strategies._draws import packed, unpack

if TYPE_CHECKING:
    from transnas.meta.few_shot.prior import FewShotPrior

__all__ = ["FewShotStrategy", "FewShotStrategySettings"]

_TRIES = 100
"""Repeated architectures in a row after which a repeat is accepted."""


@dataclass(frozen=True)
class FewShotStrategySettings:
    """Settings of `FewShotStrategy`."""

    prior: str = ""
    """Folder of a prior that `transnas learn` wrote; empty: architectures are uniform."""


@register("few-shot")
class FewShotStrategy(Strategy):
    """Asks the architecture that the logits decode to, then Gumbel samples around them.

    The logits are the meta-learnt ones of the prior. Measurements change nothing: what was learnt
    is in the prior. Without a prior every architecture is as likely as any other.
    """

    Settings = FewShotStrategySettings

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        objectives: Sequence[Objective] = (Objective(),),
        settings: Any = None,
        prior: FewShotPrior | None = None,
    ) -> None:
        super().__init__(space, seed, objectives, settings)
        if prior is None and self.settings.prior:
            from transnas.meta.few_shot.prior import FewShotPrior

            prior = FewShotPrior.load(Path(self.settings.prior), space)
        self._logits = None if prior is None else prior.meta.get("logits")
        if prior is not None and self._logits is None:
            raise InputError(
                f"the prior was learnt by method {prior.method!r}, which searches no "
                "architectures; accepted: priors of auto-maml, t-nas, t-nas++"
            )
        if prior is not None and space.name != "darts":
            raise InputError(f"the prior is of space 'darts', not {space.name!r}; accepted: darts")
        self._asked: set[Architecture] = set()

    def ask(self) -> Architecture:
        for _ in range(_TRIES):
            arch = self._propose()
            if arch not in self._asked:
                break
        self._asked.add(arch)
        return arch

    def _propose(self) -> Architecture:
        if self._logits is None:
            return self.space.sample(self.rng)
        from transnas.meta.few_shot.decoding import decode, samples

        if not self._asked:
            return decode(self._logits[None])[0]
        return samples(self._logits, 1, self.rng)[0]

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._asked.add(arch)

    def state(self) -> dict[str, Any]:
        return {"asked": packed(self._asked), "rng": generator_state(self.rng)}

    def restore(self, state: dict[str, Any]) -> None:
        self._asked = {unpack(self.space, a) for a in state["asked"]}
        restore_generator(self.rng, state["rng"])
