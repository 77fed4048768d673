"""Interleaved multi-task architecture search: M rounds over K tasks, then one architecture step.

The objective has three levels: encoders (a chain of MK nested problems), heads, architecture.
`Interleaving` is the algorithm box; an outer iteration is one pass of it, that is one step of the
architecture, as in DARTS. All MK stages lie inside this one loop.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from typing import Any

import torch
from torch import nn

from transnas._checkpoints import optimiser_state, restore_optimiser
from transnas.evaluation.training import deterministic, workplace
from transnas.meta.interleaved.checks import check_tasks
from transnas.meta.interleaved.history import Cost, History
from transnas.meta.interleaved.learner import Learner, weight_optimiser
from transnas.meta.interleaved.level3 import Level3
from transnas.meta.interleaved.methods import METHODS
from transnas.meta.interleaved.order import order
from transnas.meta.interleaved.settings import InterleaveSettings
from transnas.meta.interleaved.setup import (
    group_architectures,
    make_hyper,
    make_learner,
    share_encoder,
    shared_skeleton,
    similar_path,
    weight_iterations,
)
from transnas.meta.interleaved.stage_step import StageStep
from transnas.meta.interleaved.stages import Stage, Summed, stages
from transnas.meta.interleaved.summed import SummedStep
from transnas.networks import Supernet
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, own_data

__all__ = ["Interleaving", "Progress"]

Progress = Callable[[int, int, Mapping[str, Any]], None]
"""Called with the iterations done, all of them, and the newest point of the history."""

Unit = Stage | Summed | None
_ALPHA: Unit = None
"""The unit of an iteration that moves the architecture; the others move weights."""


class Interleaving:
    """One search. `run` goes through it; `state` and `restore` continue it anywhere, exactly."""

    def __init__(
        self,
        tasks: Sequence[DataTask],
        space: Space,
        settings: InterleaveSettings = InterleaveSettings(),  # noqa: B008 - immutable
        *,
        skeleton: Mapping[str, Any] | None = None,
        architecture: Architecture | None = None,
        seed: int = 0,
        device: str = "auto",
    ) -> None:
        """`architecture`: train its stand-alone networks in turn, and search nothing.

        Raises `InputError` for no task, equal names, missing validation data, a kind without
        head, or inputs that the space cannot take.
        """
        self.tasks = check_tasks(tasks, space, settings, skeleton)
        self.space, self.settings, self.seed = space, settings, seed
        self.fixed = architecture
        self.skeleton = dict(shared_skeleton(tasks, space) if skeleton is None else skeleton)
        self.device = workplace(device, "32-true").device
        self.learners = [
            make_learner(k, task, space, architecture, self.skeleton, settings, seed, self.device)
            for k, task in enumerate(self.tasks)
        ]
        self.groups = group_architectures(self.learners, settings)
        self.shared: list[nn.Parameter] = []
        """Weights that all tasks move: one encoder, or the hypernetwork."""
        if settings.variant.one_encoder:
            self.shared = share_encoder(self.learners)
        elif settings.hyper != "off" and architecture is None:
            self.shared = list(make_hyper(self.learners, settings, seed, self.device).parameters())
        self.shared_optimiser = weight_optimiser(self.shared, settings) if self.shared else None
        self.weight_iterations = weight_iterations(self.tasks, settings)
        posthoc = settings.alpha_schedule == "posthoc"
        self.iterations = (2 if posthoc else 1) * self.weight_iterations
        self.history = History([t.name for t in self.tasks], self.iterations)
        self.history.events += settings.remarks()
        self.cost = Cost(task_seconds={t.name: 0.0 for t in self.tasks})
        self.stage_step = StageStep(self)
        self.summed = SummedStep(self)
        self.level3 = Level3(self)
        self.similar = similar_path(self.learners, settings, seed)
        self._last: int | None = None
        self.iteration = self.position = 0
        self._begin_iteration()
        if settings.offload:
            for learner in self.learners:
                learner.place(torch.device("cpu"))

    # The box ------------------------------------------------------------------------------------

    def run(
        self, progress: Progress | None = None, stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Search to the end, or until `stop` says so after a stage; return whether it is done."""
        with deterministic(self.seed, self.device):
            while not self.done:
                point = self.advance()
                if progress is not None and point is not None:
                    progress(self.iteration, self.iterations, point)
                if stop():
                    break
        return self.done

    @property
    def done(self) -> bool:
        """Whether all iterations are done."""
        return self.iteration >= self.iterations

    def advance(self) -> dict[str, Any] | None:
        """Do one stage or one architecture step; return the history's point if one is complete."""
        started = time.perf_counter()
        unit = self.units[self.position]
        if unit is None:
            self.level3.step()
        elif isinstance(unit, Summed):
            self.summed.step(unit.round)
        elif isinstance(unit, Stage) and self.learners[unit.task].active:
            self.stage_step.step(unit)
            self.cost.task_seconds[self.tasks[unit.task].name] += time.perf_counter() - started
        self.position += 1
        point = self._end_iteration() if self.position == len(self.units) else None
        self.cost.seconds += time.perf_counter() - started
        return point

    def _end_iteration(self) -> dict[str, Any] | None:
        self.iteration += 1
        self.position = 0
        self.history.add("entropy", self._entropy())
        point = self.history.end(self.iteration, self.done)
        if not self.done:
            self._begin_iteration()
        return point

    def _begin_iteration(self) -> None:
        """Set the schedules, and list the stages and the architecture step of this iteration."""
        s, it = self.settings, self.iteration
        rate = s.rate(min(1.0, it / self.weight_iterations))
        for learner in self.learners:
            learner.optimiser.param_groups[0]["lr"] = rate * learner.factor
            for relaxation in learner.relaxations:
                METHODS[s.method].cool(relaxation, it / max(1, self.iterations - 1))
        if self.shared_optimiser is not None:
            self.shared_optimiser.param_groups[0]["lr"] = rate
        active = [x.k for x in self.learners if x.active]
        listed: list[Unit] = [Summed(m) for m in range(1, s.rounds + 1)]
        if s.updates == "interleaved":
            found = stages(
                s.rounds,
                lambda m: order(s.order, active, self.seed, it, m, self.similar),
                self._last if s.carry else None,
            )
            self._last = found[-1].task
            listed = [*found]
        self.stage_step.forget()
        if s.alpha_schedule == "posthoc":
            self.units: list[Unit] = listed if it < self.weight_iterations else [_ALPHA]
        else:
            moves = self.fixed is None and it >= math.ceil(s.warmup * self.iterations)
            alpha: list[Unit] = [_ALPHA] if moves else []
            self.units = [*alpha, *listed] if s.alpha_first else [*listed, *alpha]

    # Parts of the units -------------------------------------------------------------------------

    def strike(self, learner: Learner, reason: str) -> None:
        """Halve a diverging task's weight and learning rate, or drop it; the others go on."""
        learner.strikes += 1
        learner.factor /= 2
        learner.optimiser.param_groups[0]["lr"] *= 0.5
        learner.optimiser.state.clear()
        done = f"counts {learner.factor:g} from now on" if learner.active else "is dropped"
        self.history.events.append(
            f"iteration {self.iteration + 1}: task {learner.task.name!r} diverged ({reason}) and "
            f"{done}"
        )
        if not any(x.active for x in self.learners):
            from transnas.evaluation.training import Stopped

            raise Stopped(f"all tasks diverged; the last one: {self.history.events[-1]}", [])

    def bring(self, *needed: Learner | None) -> None:
        """Have the needed encoders on the device, and with `offload` no others."""
        if not self.settings.offload:
            return
        for learner in self.learners:
            if learner.resident and learner not in needed:
                learner.place(torch.device("cpu"))
        for wanted in needed:
            if wanted is not None and not wanted.resident:
                wanted.place(self.device)

    # What comes of it ---------------------------------------------------------------------------

    def derive(self, k: int = 0) -> Architecture:
        """Return the architecture of task k: one for all, unless they are separate."""
        if self.fixed is not None:
            return self.fixed
        network = self.learners[k].encoder.network
        assert isinstance(network, Supernet)
        return network.derive()

    def parameters(self) -> dict[str, int]:
        """Return numbers of weights: of an `encoder`, of all `heads`, of what is `shared`."""
        cells = self.learners[0].encoder
        logits = {id(a) for a in self.learners[0].alpha}
        return {
            "encoder": sum(p.numel() for p in cells.parameters() if id(p) not in logits),
            "heads": sum(p.numel() for x in self.learners for p in x.head.parameters()),
            "shared": sum(p.numel() for p in self.shared),
        }

    def _entropy(self) -> float:
        if self.fixed is not None:
            return 0.0
        network = self.learners[0].encoder.network
        assert isinstance(network, Supernet)
        with torch.no_grad():
            p = network.logits.masked_fill(network.missing, -math.inf).softmax(dim=1)
            return float(torch.special.entr(p).sum(1).mean())

    def definition(self) -> dict[str, Any]:
        """Return what determines the search; a checkpoint of another one is refused."""
        fixed = None if self.fixed is None else self.space.to_text(self.fixed)
        return {
            "tasks": [t.name for t in self.tasks],
            **own_data(self.tasks),
            "space": self.space.name,
            "skeleton": json.loads(json.dumps(self.skeleton)),
            "seed": self.seed,
            "architecture": fixed,
            **{f"setting {k}": v for k, v in asdict(self.settings).items() if k != "offload"},
        }

    # State --------------------------------------------------------------------------------------

    @property
    def resumable(self) -> bool:
        """Whether `state` may be taken now: with recorded steps, only between iterations."""
        return self.settings.paths == "direct" or self.position == 0

    def state(self) -> dict[str, Any]:
        """Return everything that later steps depend on, as nested plain data and tensors."""
        assert self.resumable
        shared = self.shared_optimiser
        return {
            "alpha": [[a.detach() for a in self.learners[g[0]].alpha] for g in self.groups],
            "level3": self.level3.state(),
            "summed": self.summed.state(),
            "learners": [x.state() for x in self.learners],
            "shared": [p.detach() for p in self.shared],
            "shared_optimiser": {} if shared is None else optimiser_state(shared),
            "iteration": self.iteration,
            "position": self.position,
            "units": [None if u is None else list(astuple(u)) for u in self.units],
            "last": self._last,
            "due": self.stage_step.state(),
            "cost": asdict(self.cost),
            "history": self.history.state(),
            "similar": list(self.similar),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue exactly from the `state()` of an equal search."""
        with torch.no_grad():
            for group, values in zip(self.groups, state["alpha"], strict=True):
                for a, value in zip(self.learners[group[0]].alpha, values, strict=True):
                    a.copy_(value)
            for p, value in zip(self.shared, state["shared"], strict=True):
                p.copy_(value)
        for learner, given in zip(self.learners, state["learners"], strict=True):
            learner.restore(given)
        if self.shared_optimiser is not None:
            restore_optimiser(self.shared_optimiser, state["shared_optimiser"])
        self.level3.restore(state["level3"])
        self.summed.restore(state["summed"])
        self.cost = Cost(**state["cost"])
        self.history.restore(state["history"])
        self.similar = [int(k) for k in state["similar"]]
        self.stage_step.restore(state["due"])
        self.iteration = int(state["iteration"])
        if not self.done:
            self._begin_iteration()
        self.position = int(state["position"])
        self.units = [
            None if u is None else Stage(*u) if len(u) > 1 else Summed(*u) for u in state["units"]
        ]
        self._last = state["last"]
