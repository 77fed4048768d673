"""`CostEvaluator`: parameters, FLOPs and peak memory of a network, without running it on data."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from transnas import networks
from transnas._checks import check_whole
from transnas.evaluation._base import Evaluator, Measurement
from transnas.evaluation._counting import flops, parameters
from transnas.evaluation._kinds import kind_of
from transnas.evaluation._resolve import resolve_skeleton
from transnas.spaces import Architecture, Space
from transnas.tasks import Signature, Task

__all__ = ["CostEvaluator", "peak_memory"]


class CostEvaluator(Evaluator):
    """Counts what an architecture costs; deterministic, milliseconds, the budget is not used.

    Metrics: `parameters`, `flops` (multiply-adds of one image), `peak_memory_mb` (10^6 bytes of
    tensors alive at once in a training step with `batch_size` images: weights, gradients,
    activations; the optimiser's momentum and the device's own workspace are not counted).
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        batch_size: int = 64,
        skeleton: Mapping[str, Any] | None = None,
    ) -> None:
        self.signature = task.signature
        self.space = space
        self.batch_size = check_whole("batch_size", batch_size, 2)
        self.skeleton = resolve_skeleton(space, task.signature, skeleton)

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        return frozenset({"parameters", "flops", "peak_memory_mb"})

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Count `arch`; `budget` is checked and has no effect."""
        check_whole("epochs", 1 if budget is None else budget, 1)
        with torch.device("meta"):
            network = networks.build(self.space, arch, self.signature, **self.skeleton)
        peak = peak_memory(network, self.signature, self.batch_size)
        return Measurement(
            {
                "parameters": float(parameters(network)),
                "flops": float(flops(network, self.signature)),
                "peak_memory_mb": peak / 1e6,
            }
        )


def peak_memory(network: nn.Module, signature: Signature, batch_size: int) -> int:
    """Return the bytes of tensors alive at once in one training step of `network`.

    `network` lies on the `meta` device, so that nothing is computed or allocated.
    """
    network.train()
    images = kind_of(signature.kind).blank(batch_size, signature, "meta")
    with _Alive() as alive:
        for tensor in (*network.parameters(), *network.buffers(), images):
            alive.add(tensor)
        kind_of(signature.kind).blank_loss(network, images).backward()  # type: ignore[no-untyped-call]
    return int(alive.peak)


class _Alive(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages of all tensors that operations return, until each is freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = 0
        self.peak = 0
        self._known: weakref.WeakSet[Any] = weakref.WeakSet()

    def add(self, tensor: Tensor) -> None:
        """Count the tensor's storage, once."""
        storage = tensor.untyped_storage()
        if storage in self._known:
            return
        self._known.add(storage)
        size = storage.nbytes()
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._free, size)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.add(leaf)
        return out
