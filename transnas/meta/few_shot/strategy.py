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
from transnas.tasks import DataTask, Task

if TYPE_CHECKING:
    from torch import Tensor

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

    The logits are those of the prior, adapted to the task's images where the task is known, or the
    meta-learnt ones. Measurements change nothing: what was learnt is in the prior. Without a prior
    every architecture is as likely as any other.
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
        if prior is not None and "logits" not in prior.meta:
            raise InputError(
                f"the prior was learnt by method {prior.method!r}, which searches no "
                "architectures; accepted: priors of auto-maml, t-nas, t-nas++"
            )
        if prior is not None and space.name != "darts":
            raise InputError(f"the prior is of space 'darts', not {space.name!r}; accepted: darts")
        self._prior = prior
        self._task: DataTask | None = None
        self._logits: Tensor | None = None
        self._asked: set[Architecture] = set()

    def meet(self, task: Task) -> None:
        """See `Strategy.meet`; images must have as many channels as the prior's."""
        if self._prior is not None and isinstance(task, DataTask):
            self._prior.require_channels(task)
            self._task = task

    def ask(self) -> Architecture:
        for _ in range(_TRIES):
            arch = self._propose()
            if arch not in self._asked:
                break
        self._asked.add(arch)
        return arch

    def _propose(self) -> Architecture:
        if self._prior is None:
            return self.space.sample(self.rng)
        from transnas.meta.few_shot.decoding import decode, samples

        if self._logits is None:
            meta = self._prior.meta["logits"]
            task = self._task
            self._logits = meta if task is None else self._prior.task_logits(task, self.seed)
        if not self._asked:
            return decode(self._logits[None])[0]
        return samples(self._logits, 1, self.rng)[0]

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        self._asked.add(arch)

    def state(self) -> dict[str, Any]:
        logits = None if self._logits is None else self._logits.tolist()
        return {
            "asked": packed(self._asked),
            "logits": logits,
            "rng": generator_state(self.rng),
        }

    def restore(self, state: dict[str, Any]) -> None:
        import torch

        self._asked = {unpack(self.space, a) for a in state["asked"]}
        logits = state["logits"]
        self._logits = None if logits is None else torch.tensor(logits)
        restore_generator(self.rng, state["rng"])
