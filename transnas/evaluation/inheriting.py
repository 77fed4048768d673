"""`Inheriting`: training that goes on from the weights of what an architecture was made from."""

from __future__ import annotations

import hashlib
import os
from copy import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transnas import networks
from transnas._errors import InputError
from transnas.evaluation._base import Evaluator
from transnas.evaluation.training import Training
from transnas.networks.path_level import PathLevelNetwork
from transnas.spaces import Architecture
from transnas.spaces.path_level import PathLevel

__all__ = ["Inheriting"]

Weights = dict[str, Tensor]


class Inheriting(Training):
    """Trains an architecture from its parent's trained weights, if the parent was trained here.

    The parent's network is transformed by the last step (`PathLevelNetwork.grow`), which leaves
    its function as it is but for the noise of copies, and trained by the recipe. Where there is no
    parent, or it was not trained, weights are random. A measurement therefore depends on what was
    measured before; the metric `inherited` is 1 for weights that were inherited. Weights are kept
    in memory, or as files where the study has a place for them, which its workers share.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what `Training` takes; raises `InputError` for a space without transformations."""
        super().__init__(*args, **kwargs)
        if not isinstance(self.space, PathLevel):
            raise InputError(
                f"space {self.space.name!r} has no transformations; accepted: path-level"
            )
        self._memory: dict[Architecture, Weights] = {}
        self._folder: Path | None = None

    @classmethod
    def of(cls, training: Training) -> Inheriting:
        """Return an evaluator that trains as `training` does, from inherited weights."""
        return cls(
            training.task, training.space, training.recipe, training.device, training.skeleton,
            training.deadline, training.progress,
        )  # fmt: skip

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        return super().reports() | {"inherited"}

    def keeping(self, folder: Path | None) -> Evaluator:
        """See `Evaluator.keeping`."""
        other = copy(self)
        other._folder = folder
        return other

    def _network(self, arch: Architecture, seed: int) -> tuple[nn.Module, dict[str, float]]:
        assert isinstance(self.space, PathLevel)
        parent = self.space.parent(arch)
        weights = None if parent is None else self._kept(parent)
        if parent is None or weights is None:
            network, metrics = super()._network(arch, seed)
            return network, {**metrics, "inherited": 0.0}
        network = networks.build(self.space, parent, self.task.signature, **self.skeleton)
        assert isinstance(network, PathLevelNetwork)
        network.load_state_dict(weights)
        network.grow(self.space.steps(arch)[-1], torch.Generator().manual_seed(seed))
        return network, {"inherited": 1.0}

    def _trained(self, arch: Architecture, network: nn.Module) -> None:
        weights = {n: t.detach().cpu().contiguous() for n, t in network.state_dict().items()}
        if self._folder is None:
            self._memory[arch] = {name: tensor.clone() for name, tensor in weights.items()}
            return
        from safetensors.torch import save

        path = self._path(self._folder, arch)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        part.write_bytes(save(weights))
        part.replace(path)

    def _kept(self, arch: Architecture) -> Weights | None:
        if self._folder is None:
            return self._memory.get(arch)
        from safetensors.torch import load_file

        path = self._path(self._folder, arch)
        return load_file(path) if path.exists() else None

    def _path(self, folder: Path, arch: Architecture) -> Path:
        digest = hashlib.sha256(self.space.to_json(arch).encode()).hexdigest()[:16]
        return folder / f"weights-{digest}.safetensors"
