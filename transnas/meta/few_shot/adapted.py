"""A prior adapted to one task: an architecture, its weights, and predictions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from transnas._errors import InputError
from transnas.meta._prior import read_prior, write_prior
from transnas.meta.few_shot import methods
from transnas.meta.few_shot._execution import ADAPTING
from transnas.meta.few_shot._inner import Fast
from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.decoding import SPACE, decode, log_likelihood
from transnas.meta.few_shot.derived import decoded_network
from transnas.meta.few_shot.support import outside
from transnas.networks.few_shot import LOGITS, FewShotSupernet
from transnas.spaces import Architecture
from transnas.tasks import Signature

if TYPE_CHECKING:
    from transnas.meta.few_shot.prior import FewShotPrior

__all__ = ["KIND", "Adapted", "choose", "require_finite"]

KIND, _FORMAT = "few-shot-adapted", 1
_FAST, _SUPPORT = "fast/", "support"


@dataclass(frozen=True)
class Adapted:
    """Weights of one task, and what is needed to predict with them."""

    learner: Learner
    method: str
    """Method whose steps adapted the weights."""
    width: int
    fast: dict[str, Tensor]
    """Adapted parameters [1, ...]."""
    support: Tensor
    """Normalised support images [1, n, C, H, W]; normalisation layers use their statistics."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    classes: tuple[str, ...]
    decoded: Architecture | None
    """What the adapted architecture parameters decode to; None without a search."""
    architecture: Architecture | None
    """The architecture that predicts; None: the mixture, or the four-convolution network."""
    accuracy: float = float("nan")
    """On `images` images of the task beside the support; NaN if there are none."""
    images: int = 0
    seconds: float = float("nan")
    """Time of the adaptation."""

    def probabilities(self, images: Tensor) -> Tensor:
        """Images [n, C, H, W], pixels 0..1 -> probabilities of the classes [n, way].

        A prediction depends on its image and the support alone. Raises `InputError` for images of
        another shape, and for pixels outside 0..1.
        """
        shape = tuple(self.support.shape[2:])
        if images.ndim != 4 or tuple(images.shape[1:]) != shape:
            raise InputError(
                f"images have shape {tuple(images.shape)}; accepted: (n, {str(shape)[1:]}"
            )
        wrong = outside(images)
        if wrong:
            raise InputError(f"pixels are {wrong}; accepted: 0 to 1 (8 bits: divided by 255)")
        x = normalised(images, self.mean, self.std)[None]
        outputs = self.learner.predict(self.fast, self.support, x, "support")
        return outputs[0].softmax(dim=1)

    def predict(self, images: Tensor) -> list[str]:
        """Images [n, C, H, W], pixels 0..1 -> the likeliest class of each."""
        return [self.classes[i] for i in self.probabilities(images).argmax(dim=1).tolist()]

    def save(self, folder: Path) -> None:
        """Write architecture, weights and figures into `folder`: JSON and safetensors."""
        arrays = {_FAST + name: value.numpy() for name, value in self.fast.items()}
        arrays[_SUPPORT] = self.support.numpy()
        data = {
            "space": SPACE.name,
            "method": self.method,
            "settings": asdict(self.learner.settings),
            "width": self.width,
            "input_shape": list(self.support.shape[2:]),
            "mean": list(self.mean),
            "std": list(self.std),
            "classes": list(self.classes),
            "decoded": None if self.decoded is None else SPACE.to_text(self.decoded),
            "architecture": None if self.architecture is None else SPACE.to_text(self.architecture),
            "accuracy": self.accuracy,
            "images": self.images,
            "seconds": self.seconds,
        }
        write_prior(folder, KIND, _FORMAT, data, arrays)

    @classmethod
    def load(cls, folder: Path) -> Adapted:
        """Read what `save` wrote; raises `InputError` if it is not that."""
        data, arrays = read_prior(folder, KIND, _FORMAT, SPACE)
        try:
            texts = [data["decoded"], data["architecture"]]
            decoded, arch = (None if t is None else SPACE.from_text(t) for t in texts)
            values = {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
            fast = {n.removeprefix(_FAST): v for n, v in values.items() if n.startswith(_FAST)}
            channels, height, side = data["input_shape"]
            classes = tuple(data["classes"])
            signature = Signature((channels, height, side), len(classes))
            learner = _learner(data["method"], signature, data["width"], arch, data["settings"])
            figures = (data["accuracy"], data["images"], data["seconds"])
            return cls(
                learner, data["method"], data["width"], fast, values[_SUPPORT],
                tuple(data["mean"]), tuple(data["std"]), classes, decoded, arch, *figures,
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"folder {str(folder)!r} is not readable ({error}); accepted: what an adaptation "
                "of this version wrote"
            ) from error


def choose(
    prior: FewShotPrior, support: Tensor, labels: Tensor, classes: tuple[str, ...]
) -> Adapted:
    """Adapt a prior to support images [n, C, H, W], pixels 0..1, with labels [n]."""
    xs, ys = normalised(support, prior.mean, prior.std)[None], labels[None]
    searcher = prior.learner
    fast = require_finite(searcher.adapt(prior.meta, xs, ys))
    decoded, arch, learner, method = None, None, searcher, prior.method
    if searcher.searches:
        (decoded,) = decode(fast[LOGITS])
        if prior.architectures:
            best = log_likelihood(fast[LOGITS][0], prior.architectures).argmax()
            arch, method = prior.architectures[int(best)], searcher.recipe
            shared = {n: prior.settings[n] for n in ("steps", "test_steps", "inner_rate", "clip")}
            width = prior.settings["width"]
            learner = _learner(method, searcher.network.signature, width, arch, shared)
            fast = require_finite(learner.adapt(prior.decoded[int(best)], xs, ys))
    return Adapted(
        learner, method, prior.settings["width"], fast, xs, prior.mean, prior.std, classes,
        decoded, arch,
    )  # fmt: skip


def require_finite(fast: Fast) -> Fast:
    """Return adapted parameters; raises `InputError` if any of them is not finite."""
    if not all(bool(value.isfinite().all()) for value in fast.values()):
        raise InputError(
            "adaptation did not stay finite on these images; accepted: a prior with a smaller "
            "inner rate, or other images"
        )
    return fast


def normalised(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return pixels 0..1 [n, C, H, W] less the mean, over the deviation, of each channel."""
    centre, spread = (torch.tensor(t)[:, None, None] for t in (mean, std))
    return (images - centre) / spread


def _learner(
    method: str,
    signature: Signature,
    width: int,
    arch: Architecture | None,
    settings: dict[str, Any],
) -> Learner:
    """Return the method on the network that `arch` and the method say."""
    cls = methods.get(method)
    network = (
        cls.network_of(signature, width)
        if arch is None
        else decoded_network(arch, FewShotSupernet(signature, width))
    )
    return cls(network, cls.Settings(**settings), ADAPTING)
