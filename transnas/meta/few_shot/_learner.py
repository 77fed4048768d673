"""The outer problem that every method shares; a method says what differs, in a file of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.evaluation.recipe import half_cosine
from transnas.meta.few_shot import _execution
from transnas.meta.few_shot._execution import Execution
from transnas.meta.few_shot._inner import Fast, inner_loop, starting_point
from transnas.meta.few_shot.settings import Settings
from transnas.meta.few_shot.state import State
from transnas.networks.few_shot import (
    BatchStatistics,
    FewShotNetwork,
    FewShotSupernet,
    FourConv,
    FusedStatistics,
    Layout,
    Norm,
    SupportStatistics,
    run,
)
from transnas.tasks import Signature
from transnas.tasks.episodes import EpisodeBatch, EpisodeSource

__all__ = ["STATISTICS", "Learner", "MetaGradient"]

STATISTICS = ("batch", "support")
"""What query images can be normalised by."""


@dataclass(frozen=True)
class MetaGradient:
    """Mean over the tasks that stayed finite, and what became of each task [B]."""

    gradients: dict[str, Tensor]
    losses: Tensor
    accuracies: Tensor
    finite: Tensor


class Learner:
    """Meta-learns an initialisation of `network`; a subclass replaces what its method replaces.

    Outer problem: min over w of the mean over tasks of L(query; w_i^M), w_i^M from `inner_loop`.
    """

    Settings: ClassVar[type[Settings]] = Settings
    searches: ClassVar[bool] = False
    """Whether the network has architecture parameters, which are searched."""
    recipe: ClassVar[str] = "maml"
    """Name of the method that meta-trains the architectures that a search decodes."""

    def __init__(
        self,
        network: FewShotNetwork,
        settings: Any = None,
        execution: Execution = Execution(),  # noqa: B008 - immutable
    ) -> None:
        self.network = network
        self.settings = settings or self.Settings()
        self.execution = execution

    @classmethod
    def network_of(cls, signature: Signature, width: int) -> FewShotNetwork:
        """Return the network that the method meta-trains: a supernet where it searches."""
        network = FewShotSupernet if cls.searches else FourConv
        return network(signature, width)

    # What is learnt, and what a task adapts ----------------------------------------------------

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the meta-parameters."""
        return dict(self.network.shapes)

    def init(self, seed: int, device: torch.device | str = "cpu") -> State:
        """Return the state before the first meta-step; its draws are the same on every device."""
        generator = torch.Generator().manual_seed(seed)
        meta = {name: self.draw(name, generator).to(device) for name in self.shapes}
        return State(meta, self.optimisers(meta))

    def draw(self, name: str, generator: torch.Generator) -> Tensor:
        """Return a meta-parameter's first value."""
        return self.network.draw(name, generator)

    def adapts(self, name: str) -> bool:
        """Whether the inner loop changes this parameter."""
        return True

    @cached_property
    def phases(self) -> tuple[tuple[str, ...], ...]:
        """Parameters that an inner step changes together; one group after the other."""
        return (tuple(name for name in self.network.shapes if self.adapts(name)),)

    def rate(self, params: Fast, name: str, step: int) -> float | Tensor:
        """Return the inner learning rate of a parameter at a step."""
        return self.settings.inner_rate

    def seen(self, params: Fast, step: int) -> Fast:
        """Return the parameters as the network sees them at a step."""
        return params

    # The outer problem --------------------------------------------------------------------------

    def query_weights(self, epoch: int) -> list[float]:
        """Return the weight of the query loss after each inner step; here only the last counts."""
        return [0.0] * (self.settings.steps - 1) + [1.0]

    def second_order(self, epoch: int) -> bool:
        """Whether meta-gradients flow through the inner gradients in this epoch."""
        return self.settings.order == 2

    def outer_rate(self, epoch: int) -> float:
        """A_t = A_min + (A - A_min) (1 + cos(pi t / T)) / 2, or A if it is constant."""
        first, last = self.settings.outer_rate, self.settings.annealed_to
        if last is None:
            return first
        share = min(epoch / self.settings.epochs, 1.0)
        return half_cosine(first, last, share)

    def optimisers(self, meta: dict[str, Tensor]) -> dict[str, torch.optim.Optimizer]:
        """Return the outer optimisers, by name, over the meta-parameters."""
        return {"weights": torch.optim.Adam(meta.values(), self.settings.outer_rate)}

    def sources(self, source: EpisodeSource) -> tuple[EpisodeSource, ...]:
        """Return where the episodes of a meta-step come from, one batch each."""
        return (source,)

    def meta_step(self, state: State, batches: Sequence[EpisodeBatch], epoch: int) -> MetaGradient:
        """Change the state by one step of the outer optimiser; non-finite tasks are left out."""
        (batch,) = batches
        found = self.meta_gradient(state, batch, epoch, tuple(state.meta))
        self.update(state, found, epoch)
        return found

    def update(self, state: State, found: MetaGradient, epoch: int) -> None:
        """Apply a meta-gradient to the parameters it is of, unless no task of it was finite."""
        state.skipped += int((~found.finite).sum())
        if not bool(found.finite.any()):
            return
        clip = self.settings.clip
        for name, value in state.meta.items():
            gradient = found.gradients.get(name)
            value.grad = gradient.clamp(-clip, clip) if clip and gradient is not None else gradient
        state.optimisers["weights"].param_groups[0]["lr"] = self.outer_rate(epoch)
        for optimiser in state.optimisers.values():
            optimiser.step()  # parameters without a gradient stay as they are

    def meta_gradient(
        self, state: State, batch: EpisodeBatch, epoch: int, names: Sequence[str]
    ) -> MetaGradient:
        """Return the meta-gradient of `names`, computed chunk by chunk of tasks."""
        size = self.tasks_at_once(state.meta, batch)
        parts = [
            self._chunk_gradient(state, batch[first : first + size], epoch, names)
            for first in range(0, len(batch), size)
        ]
        losses, accuracies, finite = (
            torch.cat([getattr(part, field) for part in parts])
            for field in ("losses", "accuracies", "finite")
        )
        count = finite.sum().clamp_min(1)
        total = {
            name: torch.stack([part.gradients[name] for part in parts]).sum(0) / count
            for name in names
        }
        return MetaGradient(total, losses, accuracies, finite)

    def _chunk_gradient(
        self, state: State, batch: EpisodeBatch, epoch: int, names: Sequence[str]
    ) -> MetaGradient:
        """Return the sum of the gradients of the finite tasks of one chunk."""
        steps, weights = self.settings.steps, self.query_weights(epoch)
        start = starting_point(state.meta, len(batch))
        total, outputs = start[names[0]].new_zeros(len(batch)), None
        fast_steps = inner_loop(self, start, batch.xs, batch.ys, steps, self.second_order(epoch))
        if steps == 0:
            outputs = self.outputs(start, batch.xq, 0)
            total = self.network.loss(outputs, batch.yq)
        for step, fast in enumerate(fast_steps):
            if weights[step]:
                outputs = self.outputs(fast, batch.xq, step)
                total = total + weights[step] * self.network.loss(outputs, batch.yq)
        assert outputs is not None
        found = torch.autograd.grad(
            total.sum(), [start[n] for n in names], allow_unused=True, materialize_grads=True
        )
        finite = total.detach().isfinite()
        for gradient in found:
            finite &= gradient.flatten(1).isfinite().all(dim=1)
        kept = finite.nonzero()[:, 0]  # once: an accelerator is waited for
        sums = {name: gradient[kept].sum(0) for name, gradient in zip(names, found, strict=True)}
        accuracies = self.network.accuracy(outputs.detach(), batch.yq)
        return MetaGradient(sums, total.detach(), accuracies, finite)

    def tasks_at_once(self, meta: dict[str, Tensor], batch: EpisodeBatch) -> int:
        """Return how many tasks of a batch to compute together."""
        if self.execution.layout == "loop":
            return 1
        if self.execution.chunk is not None:
            return self.execution.chunk
        return _execution.tasks_at_once(self._task_bytes(meta, batch), batch.xs.device)

    def _task_bytes(self, meta: dict[str, Tensor], batch: EpisodeBatch) -> int:
        """Return what one task of a batch needs, in bytes."""
        support, counted = batch.xs.shape[1], sum(weight > 0 for weight in self.query_weights(0))
        query = counted * batch.xq.shape[1]  # every pass that counts is kept to the end
        images = max(support, query)
        if self.settings.order == 2:
            images = 2 * (self.settings.steps * support + query)
        weights = sum(value.numel() * value.element_size() for value in meta.values())
        return images * self._image_bytes + 3 * weights

    @cached_property
    def _image_bytes(self) -> int:
        params = self.network.init(torch.Generator().manual_seed(0))
        return _execution.image_bytes(self.network, params)

    def resolve(self, state: State, batch: EpisodeBatch) -> None:
        """Settle layout and chunk; nothing is learnt from `batch`.

        `auto` is measured by timing meta-gradients. Chunks change the last bits of a sum, so that
        their size is taken from the free memory once, not at every step.
        """

        def step(candidate: Execution) -> object:
            trial = self.with_execution(candidate)
            return trial.meta_gradient(state, batch, 0, tuple(state.meta))

        fuses = self.settings.order == 1 and self.network.fuses(batch.xs)
        few = max(1, _execution.CACHE // self._task_bytes(state.meta, batch))
        cached = few if few < len(batch) else None
        self.execution = _execution.choose(self.execution, step, batch.xs.device, fuses, cached)
        chunk = self.tasks_at_once(state.meta, batch)
        self.execution = replace(self.execution, chunk=chunk)

    def with_execution(self, execution: Execution) -> Learner:
        """Return the same method with another execution."""
        return type(self)(self.network, self.settings, execution)

    # Using what was learnt ------------------------------------------------------------------------

    def outputs(self, params: Fast, x: Tensor, step: int, norm: Norm | None = None) -> Tensor:
        """Images [B, n, C, H, W] -> [B, n, outputs] with the parameters of a step."""
        layout: Layout = "vmap" if self.execution.layout == "vmap" else "grouped"
        seen = self.seen(params, step)
        fused = self.execution.layout == "compiled" and self.settings.order == 1
        normal = norm or (FusedStatistics() if fused else BatchStatistics())
        return run(self.network, seen, x, normal, layout, self.execution.channels_last)

    def adapt(
        self,
        meta: dict[str, Tensor],
        xs: Tensor,
        ys: Tensor,
        steps: int | None = None,
        given: Fast | None = None,
    ) -> Fast:
        """Return the fast parameters [B, ...] of tasks with support xs [B, n, C, H, W], ys [B, n].

        `steps` None: `settings.test_steps`. `given` are parameters that tasks start from in place
        of the meta-learnt ones, [B, ...] each.
        """
        fast = starting_point(meta, len(xs))
        for name, value in (given or {}).items():
            fast[name] = value.detach().to(xs).requires_grad_()
        count = self.settings.test_steps if steps is None else steps
        for found in inner_loop(self, fast, xs, ys, count, second_order=False):
            fast = found
        return {name: value.detach() for name, value in fast.items()}

    @torch.no_grad()
    def predict(self, fast: Fast, xs: Tensor, xq: Tensor, statistics: str = "batch") -> Tensor:
        """Return outputs [B, n, outputs] of query images after `settings.test_steps` inner steps.

        `statistics`: what they are normalised by: all of the given query images (`batch`, as in
        the published experiments), or the support alone (`support`: a query then does not depend
        on the others).
        """
        last = max(self.settings.test_steps, 1) - 1  # the step that a query loss followed
        if statistics == "support":
            both = torch.cat([xs, xq], dim=1)
            norm: Norm = SupportStatistics(xs.shape[1])
            return self.outputs(fast, both, last, norm)[:, xs.shape[1] :]
        if statistics != "batch":
            raise InputError(
                f"statistics {statistics!r} is unknown; accepted: {', '.join(STATISTICS)}"
            )
        return self.outputs(fast, xq, last)
