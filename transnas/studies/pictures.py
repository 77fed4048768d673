"""What the best network of a study says of validation images, as pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from transnas import networks
from transnas._errors import InputError
from transnas.evaluation.training import Training, deterministic, fit, workplace
from transnas.strategies import Strategy
from transnas.studies import _methods
from transnas.studies._counted import counted
from transnas.studies._definition import is_of
from transnas.studies._loop import evaluation_seed, promoted_seed
from transnas.studies._study import Study
from transnas.tasks import DataTask, Task
from transnas.tasks._scenes import IGNORED
from transnas.tasks._tensors import Batched

__all__ = ["Picture", "obstacle", "pictures", "predictions", "retrained"]

_SCORE = 0.5
"""Boxes with at least this score are drawn; where none has it, as many as there are true ones."""
_LARGEST = 400
"""Pictures are enlarged up to about this width a half."""
_COARSE = 6
"""From this enlargement on, pictures show their pixels as squares."""
_COLOURS = (
    (255, 214, 10), (10, 200, 255), (255, 70, 90), (90, 230, 110), (190, 110, 255), (255, 150, 40),
    (60, 110, 255), (240, 120, 200), (150, 150, 60), (40, 160, 140), (200, 200, 200), (120, 70, 40),
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A JPEG of an image and what it shows; `paired`: the truth is left, the prediction right."""

    caption: str
    jpeg: bytes
    paired: bool = True
    colours: Mapping[str, str] = field(default_factory=dict)
    """What the colours of a mask stand for: names of classes, and colours as in CSS."""


def pictures(study: Study, task: Task, count: int = 6, device: str = "auto") -> list[Picture]:
    """Train the study's best architecture again as its trial was, and draw what it predicts.

    Raises `InputError` for a study that has an `obstacle`, or another task.
    """
    return predictions(retrained(study, task, device), _fitting(study, task), count)


def obstacle(study: Study) -> str | None:
    """Return why no pictures can be made of a study, as a sentence; None: they can."""
    best, drawn = study.best, ", ".join(_DRAWINGS)
    if "Training" not in study.definition.evaluator:
        return f"study {study.name!r} trained no networks; accepted for pictures: a study that did"
    if best is None:
        return (
            f"study {study.name!r} has no complete trial; accepted for pictures: one that has one"
        )
    if not any(kind in _DRAWINGS for kind in networks.kinds(study.space)):
        return (
            f"predictions of space {study.space.name!r} are not drawn; accepted for pictures: "
            f"studies of {drawn}"
        )
    if best.metrics.get("inherited"):
        return (
            f"the best network of study {study.name!r} began with weights of earlier trials, which "
            "are gone; accepted for pictures: networks trained from random weights"
        )
    return None


def retrained(study: Study, task: Task, device: str = "auto") -> torch.nn.Module:
    """Return the study's best network, trained with the epochs and the seed of its trial.

    That gives the trial's network, on the same machine. It is on the CPU. Raises `InputError` as
    `pictures` does.
    """
    data = _fitting(study, task)
    best = study.best
    assert best is not None  # or there is an obstacle
    training = Training(data, study.space, device=device)
    cls = _methods.get(study.strategy)
    if issubclass(cls, Strategy) and cls.full_budget is not Strategy.full_budget:
        seed = promoted_seed(study, best.architecture)
    else:
        seed = evaluation_seed(study.seed, best.ask)
    at = workplace(device, training.recipe.precision)
    with deterministic(seed, at.device):
        network = networks.build(
            study.space, best.architecture, data.signature, **training.skeleton
        )
        fit(
            network,
            data.train,
            None,
            training.recipe,
            # A trial that searched before it trained has the epochs of both.
            epochs=round(best.measurement.cost.epochs - best.metrics.get("search_epochs", 0)),
            seed=seed,
            augmentation=data.augmentation,
            kind=data.kind,
            at=at,
        )
    return network.cpu()


def _fitting(study: Study, task: Task) -> DataTask:
    """Return `task`; raises `InputError` unless pictures can be made of the study on it."""
    reason = obstacle(study)
    if reason is not None:
        raise InputError(reason)
    if not is_of(study.task, study.definition.data, task) or not isinstance(task, DataTask):
        raise InputError(
            f"study {study.name!r} on {study.task!r} does not go with task {task.name!r}, or with "
            "its data; accepted: its task, with its data"
        )
    return task


def predictions(network: torch.nn.Module, task: DataTask, count: int = 6) -> list[Picture]:
    """Draw what `network` says of `count` validation images, evenly spread."""
    split = task.validation
    if not isinstance(split, Batched):
        raise InputError(f"task {task.name!r} is not in memory; accepted for pictures: one that is")
    chosen = torch.linspace(0, len(split) - 1, min(count, len(split))).long()
    inputs, targets = split.batch(chosen)
    with torch.no_grad():
        found = network.eval()(inputs)
    moments: Any = split
    pixels = (inputs * moments.std + moments.mean).clamp(0, 1)
    draw = _DRAWINGS[task.kind]
    factor = max(1, _LARGEST // pixels.shape[3])
    drawn = []
    for i in range(len(chosen)):
        image = _picture(pixels[i], factor)
        halves, caption, colours = draw(image, factor, targets[i], found[i], task.classes)
        stream = io.BytesIO()
        _beside(halves).save(stream, "JPEG", quality=82)
        title = f"validation image {int(chosen[i])}: {caption}"
        drawn.append(Picture(title, stream.getvalue(), len(halves) > 1, colours))
    return drawn


def _beside(halves: Sequence[Image.Image]) -> Image.Image:
    """Return pictures of one size next to each other, with a gap between them."""
    width, height = halves[0].size
    whole = Image.new("RGB", (len(halves) * (width + 6) - 6, height), (255, 255, 255))
    for i, half in enumerate(halves):
        whole.paste(half, (i * (width + 6), 0))
    return whole


def _picture(pixels: Tensor, factor: int) -> Image.Image:
    """Return pixels [C, H, W] in 0..1 as a picture, enlarged."""
    channels = pixels if len(pixels) == 3 else pixels[:1].expand(3, -1, -1)
    values = (channels * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(values))
    # Smoothing hides what strongly enlarged images are made of: they would look out of focus.
    way = Image.Resampling.NEAREST if factor >= _COARSE else Image.Resampling.BICUBIC
    return picture.resize((picture.width * factor, picture.height * factor), way)


_Drawn = tuple[tuple[Image.Image, ...], str, Mapping[str, str]]
"""The truth and the prediction, or one picture of both; the caption; what colours stand for."""


def _detection(
    image: Image.Image, factor: int, target: Any, found: Any, classes: Sequence[str]
) -> _Drawn:
    scores, true = found["scores"], len(target["boxes"])
    sure = int((scores >= _SCORE).sum())
    caption = f"{counted(true, 'true box', 'true boxes')}, {sure} found with score {_SCORE} or more"
    strongest = scores.argsort(descending=True)[: sure or true]
    if not sure and len(strongest):
        few = "the strongest" if len(strongest) == 1 else f"the {len(strongest)} strongest"
        caption += f"; drawn: {few}, up to {float(scores.max()):.2f}"
    shown = {name: values[strongest] for name, values in found.items()}
    halves = tuple(_with_boxes(image, factor, boxes, classes) for boxes in (target, shown))
    return halves, caption, {}


def _with_boxes(
    image: Image.Image, factor: int, entry: dict[str, Tensor], classes: Sequence[str]
) -> Image.Image:
    drawn = image.copy()
    pencil, font = ImageDraw.Draw(drawn), ImageFont.load_default(16)
    for i, (box, label) in enumerate(zip(entry["boxes"], entry["labels"].tolist(), strict=True)):
        x0, y0, x1, y1 = (box * factor).tolist()
        colour = _colour(label)
        pencil.rectangle((x0, y0, x1, y1), outline=colour, width=2)
        score = f" {float(entry['scores'][i]):.2f}" if "scores" in entry else ""
        pencil.text(
            (x0 + 4, y0 + 2), classes[label] + score, fill=colour, font=font,
            stroke_width=1, stroke_fill=(0, 0, 0),
        )  # fmt: skip
    return drawn


def _segmentation(
    image: Image.Image, factor: int, target: Any, found: Any, classes: Sequence[str]
) -> _Drawn:
    guess, counted = found.argmax(0), target != IGNORED
    right = float((guess == target)[counted].float().mean())
    caption = f"{100 * right:.1f}% of the pixels right"
    masks = (target, guess)
    seen = sorted({label for mask in masks for label in mask.flatten().tolist()})
    colours = {
        classes[label] if label != IGNORED else "not labelled": f"rgb{_colour(label)}"
        for label in seen
    }
    return tuple(_with_mask(image, factor, mask) for mask in masks), caption, colours


def _colour(label: int) -> tuple[int, int, int]:
    return _COLOURS[label % len(_COLOURS)] if label != IGNORED else (0, 0, 0)


def _with_mask(image: Image.Image, factor: int, mask: Tensor) -> Image.Image:
    palette = np.zeros((256, 3), dtype=np.uint8)
    for label in range(IGNORED):
        palette[label] = _colour(label)
    colours = Image.fromarray(palette[mask.numpy()])
    large = colours.resize(image.size, Image.Resampling.NEAREST)
    return Image.blend(image, large, 0.55)


def _classification(
    image: Image.Image, factor: int, target: Any, found: Any, classes: Sequence[str]
) -> _Drawn:
    truth, guess = (classes[int(label)] for label in (target, found.argmax()))
    share = float(found.softmax(0).max())
    said = "recognised" if truth == guess else f"taken for {guess}"
    return (image,), f"{truth}, {said} ({100 * share:.0f}%)", {}


_DRAWINGS: dict[str, Callable[[Image.Image, int, Any, Any, Sequence[str]], _Drawn]] = {
    "classification": _classification,
    "detection": _detection,
    "segmentation": _segmentation,
}
