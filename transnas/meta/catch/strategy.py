"""CATCH as a search strategy: the agent with one replicate, told by whoever evaluates."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transnas.evaluation import Measurement, Objective
from transnas.meta.catch.settings import CatchSettings
from transnas.spaces import Architecture, Space
from transnas.strategies import Exhausted, Strategy, register, require_categorical
from transnas.strategies._arrays import pack_array, unpack_array

if TYPE_CHECKING:
    import torch

    from transnas.meta.catch.agent import Agent, Proposal
    from transnas.meta.catch.prior import CatchPrior

__all__ = ["CatchStrategy", "agent_of"]


@register("catch")
class CatchStrategy(Strategy):
    """Recognises the task from its first rewards and searches with what it learnt before.

    With a prior (`settings.prior` or `prior`), a meta-trained agent goes on learning on the new
    task; without one the same agent starts from scratch (CATCH-sfs). Failed trials cost a query
    and are not learnt from. Never proposes an architecture twice.

    Source: Chen et al., "CATCH: Context-based Meta Reinforcement Learning for Transferrable
    Architecture Search", ECCV 2020; what its text leaves open is marked in `CatchSettings`.
    Takes spaces without number ranges. Exact on one machine: other processors may round
    otherwise.
    """

    Settings = CatchSettings

    def __init__(
        self,
        space: Space,
        seed: int = 0,
        objectives: Sequence[Objective] = (Objective(),),
        settings: Any = None,
        prior: CatchPrior | None = None,
    ) -> None:
        super().__init__(space, seed, objectives, settings)
        require_categorical(space, "strategy 'catch'")
        self._prior = prior
        if prior is None and self.settings.prior:
            self._prior = self._read(Path(self.settings.prior))
        if self._prior is not None:
            self._prior.check(space, self.settings)
        self._pending: dict[Architecture, list[Proposal]] = {}

    def _read(self, folder: Path) -> CatchPrior:
        from transnas.meta.catch.prior import CatchPrior

        return CatchPrior.load(folder, self.space)

    @cached_property
    def _agent(self) -> Agent:
        import torch

        return agent_of(self.space, [self.seed], self.settings, self._prior, torch.float32)

    def ask(self) -> Architecture:
        proposal = self._agent.propose()
        if not proposal.left[0]:
            raise Exhausted(f"every architecture of space {self.space.name!r} was tried")
        arch = self._agent.coding.architecture(proposal.codes[0])
        self._pending.setdefault(arch, []).append(proposal)
        return arch

    def tell(self, arch: Architecture, measurement: Measurement) -> None:
        waiting = self._pending.get(arch, [])
        proposal = waiting.pop(0) if waiting else self._unasked(arch)
        if not waiting:
            self._pending.pop(arch, None)
        self._agent.observe(proposal, np.array([self.objective.reward(measurement)]))

    def _unasked(self, arch: Architecture) -> Proposal:
        import torch

        from transnas.meta.catch.agent import Proposal

        codes = np.array([arch.values], dtype=np.int64)
        none = torch.zeros(codes.shape, dtype=self._agent.coding.dtype)
        return Proposal(codes, none, np.array([False]), np.array([True]))

    def state(self) -> dict[str, Any]:
        pending = [
            [list(arch.values), p.log_policy[0].tolist(), bool(p.sampled[0])]
            for arch, proposals in self._pending.items()
            for p in proposals
        ]
        arrays = {name: pack_array(array) for name, array in self._agent.state().items()}
        return {"pending": pending, "arrays": arrays}

    def restore(self, state: dict[str, Any]) -> None:
        import torch

        from transnas.meta.catch.agent import Proposal

        self._agent.restore({name: unpack_array(data) for name, data in state["arrays"].items()})
        self._pending = {}
        for values, logs, sampled in state["pending"]:
            arch = self._agent.coding.architecture(values)
            log_policy = torch.tensor([logs], dtype=self._agent.coding.dtype)
            codes = np.array([values], dtype=np.int64)
            proposal = Proposal(codes, log_policy, np.array([sampled]), np.array([True]))
            self._pending.setdefault(arch, []).append(proposal)


def agent_of(
    space: Space,
    seeds: Sequence[int],
    settings: CatchSettings,
    prior: CatchPrior | None,
    dtype: torch.dtype,
) -> Agent:
    """Return agents that adapt a copy of `prior` each, or start from scratch without one."""
    from transnas.meta.catch.agent import Agent
    from transnas.meta.catch.catcher import Catcher, pick
    from transnas.meta.catch.coding import Coding

    coding = Coding(space, dtype, settings.masking, settings.isomorphs)
    if prior is None:
        catcher = Catcher(seeds, coding.features, settings, dtype)
        return Agent(catcher, coding, seeds, settings.epsilon)
    catcher = Catcher([0], coding.features, settings, dtype)
    catcher.load(pick(prior.arrays, [0] * len(seeds)))
    return Agent(catcher, coding, seeds, settings.epsilon_adapted)
