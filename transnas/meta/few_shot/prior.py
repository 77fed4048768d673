"""What few-shot meta-training learnt, on disk; adapts to a task, or gives a strategy."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from transnas._errors import InputError
from transnas.evaluation import Objective
from transnas.meta._prior import Prior, read_prior, register, write_prior
from transnas.spaces import Architecture, Space
from transnas.spaces.darts import DARTS
from transnas.tasks import DataTask, Signature

if TYPE_CHECKING:
    from torch import Tensor

    from transnas.meta.few_shot._learner import Learner
    from transnas.meta.few_shot.adapted import Adapted
    from transnas.meta.few_shot.strategy import FewShotStrategy

__all__ = ["FewShotPrior"]

_KIND, _FORMAT = "few-shot", 1
_META, _DECODED = "meta/", "decoded/"
_SPACE = DARTS()


@register(_KIND)
@dataclass(frozen=True)
class FewShotPrior(Prior):
    """A meta-trained network: `meta` its parameters, or those of a supernet.

    `architectures` are what validation tasks decoded, each with meta-trained parameters in
    `decoded`. Images must have `input_shape`; pixels are scaled to 0..1, then normalised by `mean`
    and `std` of each channel.
    """

    strategy_name = "few-shot"
    adapts = True

    method: str
    settings: Mapping[str, Any]
    input_shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    meta: dict[str, Tensor]
    architectures: tuple[Architecture, ...]
    decoded: tuple[dict[str, Tensor], ...]
    learnt_from: Mapping[str, Any]

    @property
    def quality(self) -> str:
        """See `Prior.quality`; accuracies after adaptation."""
        if math.isnan(self.learnt_from["validation_accuracy"]):
            return ""
        decoded = ", ".join(f"{a:.4f}" for a in self.learnt_from.get("decoded_accuracies", ()))
        also = f"; its decoded architectures {decoded}" if decoded else ""
        return f"accuracy {self.learnt_from['validation_accuracy']:.4f}{also}"

    @property
    def remarks(self) -> list[str]:
        """See `Prior.remarks`; whether tasks get architectures of their own, and tasks lost."""
        found, lost = [], self.learnt_from.get("skipped", 0)
        seen = self.learnt_from.get("diversity")
        if seen is not None:
            same = ", so that none has its own" if seen["distinct"] == 1 else ""
            found.append(
                f"distinct architectures of {seen['tasks'] - seen['diverged']} validation tasks: "
                f"{seen['distinct']}{same}; choices unlike the meta-learnt architecture: "
                f"{seen['hamming']:.1f} on average; largest move of a logit: {seen['moved']:.2g}"
            )
            if seen["diverged"]:
                found.append(f"{seen['diverged']} of {seen['tasks']} validation tasks diverged")
        if lost:
            found.append(f"{lost} tasks of meta-training diverged and were skipped")
        return found

    def save(self, folder: Path) -> None:
        """Write the prior into `folder`, which is created."""
        arrays = {_META + name: value.numpy() for name, value in self.meta.items()}
        for i, one in enumerate(self.decoded):
            arrays |= {f"{_DECODED}{i}/{name}": value.numpy() for name, value in one.items()}
        data = {
            "space": _SPACE.name,
            "method": self.method,
            "settings": dict(self.settings),
            "input_shape": list(self.input_shape),
            "mean": list(self.mean),
            "std": list(self.std),
            "architectures": [_SPACE.to_text(arch) for arch in self.architectures],
            "learnt_from": dict(self.learnt_from),
        }
        write_prior(folder, _KIND, _FORMAT, data, arrays)

    @classmethod
    def load(cls, folder: Path, space: Space) -> FewShotPrior:
        """Read a prior; raises `InputError` if `folder` holds none, or `space` is not `darts`."""
        import torch

        data, arrays = read_prior(folder, _KIND, _FORMAT, space)
        try:
            archs = tuple(_SPACE.from_text(text) for text in data["architectures"])
            parts: list[dict[str, Tensor]] = [{} for _ in archs]
            meta = {}
            for name, array in arrays.items():
                value = torch.from_numpy(np.array(array))
                if name.startswith(_META):
                    meta[name.removeprefix(_META)] = value
                else:
                    i, _, own = name.removeprefix(_DECODED).partition("/")
                    parts[int(i)][own] = value
            channels, height, width = data["input_shape"]
            return cls(
                data["method"],
                dict(data["settings"]),
                (channels, height, width),
                tuple(data["mean"]),
                tuple(data["std"]),
                meta,
                archs,
                tuple(parts),
                dict(data["learnt_from"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"prior {str(folder)!r} is not readable ({error}); accepted: one that this "
                "version wrote"
            ) from error

    def strategy(
        self, space: Space, seed: int = 0, objectives: Sequence[Objective] = (Objective(),)
    ) -> FewShotStrategy:
        """Return a strategy that asks the meta-learnt architecture first, then others near it."""
        from transnas.meta.few_shot.strategy import FewShotStrategy

        return FewShotStrategy(space, seed, objectives, prior=self)

    @property
    def learner(self) -> Learner:
        """The method with the network that was meta-trained."""
        return self._learner(Signature(self.input_shape, self.settings["way"]))

    def _learner(self, signature: Signature) -> Learner:
        from transnas.meta.few_shot import methods
        from transnas.meta.few_shot._execution import ADAPTING

        family, own = methods.split_settings(self.method, dict(self.settings))
        cls = methods.get(self.method)
        return cls(cls.network_of(signature, family.width), own, ADAPTING)

    def require_channels(self, task: DataTask) -> None:
        """Raise `InputError` unless the task's images have as many channels as the prior's."""
        channels = task.signature.input_shape[0]
        if channels != self.input_shape[0]:
            raise InputError(
                f"images of task {task.name!r} have {channels} channel(s); accepted by this prior: "
                f"{self.input_shape[0]}"
            )

    def task_logits(self, task: DataTask, seed: int = 0) -> Tensor:
        """Return architecture parameters [28, 8], adapted to a task of any way and image size.

        As in an episode: as many training images a class as in meta-training, and its inner steps.
        Where the task has another way, the head starts from random weights. Raises `InputError`
        for a task with fewer images, or on which the adaptation does not stay finite.
        """
        from transnas.meta.few_shot.adapted import normalised, require_finite
        from transnas.meta.few_shot.support import drawn
        from transnas.networks.few_shot import HEAD, LOGITS

        support, labels, _ = drawn(task, self, self.settings["shot"], seed)
        learner = self._learner(task.signature)
        meta = self.meta
        if task.signature.outputs != self.settings["way"]:
            fresh = learner.init(seed).meta
            meta = {n: fresh[n] if n.startswith(HEAD) else value for n, value in meta.items()}
        xs = normalised(support, self.mean, self.std)[None]
        return require_finite(learner.adapt(meta, xs, labels[None]))[LOGITS][0]

    def adapt(self, task: DataTask, shots: int, seed: int = 0) -> Adapted:
        """Adapt to `shots` training images a class of `task`, and measure on images left over.

        A search decodes the task's architecture, chooses the nearest meta-trained one (or keeps
        the mixture, if there is none), and adapts its weights. Raises `InputError` for a task of
        another way or image size, with pixels outside 0..1, or with fewer images; warns of pixels
        unlike those that were learnt from.
        """
        from transnas.meta.few_shot.adapted import choose
        from transnas.meta.few_shot.support import draw_support, measured

        begun = time.perf_counter()
        support, labels, left = draw_support(task, self, shots, seed)
        found = choose(self, support, labels, task.classes)
        seconds = time.perf_counter() - begun
        return measured(found, left, seconds)
