"""What the best network of a study says of validation images, as pictures."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from transnas import networks
from transnas._errors import InputError
from transnas.evaluation.training import Training, deterministic, fit, workplace
from transnas.studies._loop import evaluation_seed
from transnas.studies._study import Study
from transnas.tasks import DataTask, Task
from transnas.tasks._scenes import IGNORED
from transnas.tasks._tensors import Batched

__all__ = ["Picture", "pictures", "predictions"]

_SCORE = 0.5
"""Boxes with at least this score are drawn; where none has it, as many as there are true ones."""
_LARGEST = 400
"""Pictures are enlarged up to about this width a half."""
_COLOURS = (
    (255, 214, 10), (10, 200, 255), (255, 70, 90), (90, 230, 110), (190, 110, 255), (255, 150, 40),
    (60, 110, 255), (240, 120, 200), (150, 150, 60), (40, 160, 140), (200, 200, 200), (120, 70, 40),
)  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A JPEG of an image, truth on the left and prediction on the right, and what it shows."""

    caption: str
    jpeg: bytes


def pictures(study: Study, task: Task, count: int = 6, device: str = "auto") -> list[Picture]:
    """Train the study's best architecture again as its trial was, and draw what it predicts.

    With the trial's budget and seed that gives the trial's network (of a study with one worker, on
    the same machine). Raises `InputError` for a study without a trained trial, or another task.
    """
    if not isinstance(task, DataTask) or "Training" not in study.definition.evaluator:
        raise InputError(
            f"study {study.name!r} trained no networks; accepted for pictures: a study that did"
        )
    if task.name != study.task or study.best is None:
        wrong = f"task {task.name!r}" if task.name != study.task else "no complete trial"
        raise InputError(
            f"study {study.name!r} on {study.task!r} does not go with {wrong}; accepted: its task, "
            "and a complete trial"
        )
    training = Training(task, study.space, device=device)
    seed = evaluation_seed(study.seed, study.best.number)
    at = workplace(device, training.recipe.precision)
    with deterministic(seed, at.device):
        network = networks.build(
            study.space, study.best.architecture, task.signature, **training.skeleton
        )
        fit(
            network,
            task.train,
            None,
            training.recipe,
            epochs=study.budget or training.recipe.epochs,
            seed=seed,
            augmentation=task.augmentation,
            kind=task.kind,
            at=at,
        )
    return predictions(network.cpu(), task, count)


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
        left, right, caption = draw(image, factor, targets[i], found[i], task.classes)
        both = Image.new("RGB", (left.width + right.width + 6, left.height), (255, 255, 255))
        both.paste(left, (0, 0))
        both.paste(right, (left.width + 6, 0))
        stream = io.BytesIO()
        both.save(stream, "JPEG", quality=82)
        drawn.append(Picture(f"validation image {int(chosen[i])}: {caption}", stream.getvalue()))
    return drawn


def _picture(pixels: Tensor, factor: int) -> Image.Image:
    """Return pixels [C, H, W] in 0..1 as a picture, enlarged."""
    channels = pixels if len(pixels) == 3 else pixels[:1].expand(3, -1, -1)
    values = (channels * 255).round().byte().permute(1, 2, 0).numpy()
    picture = Image.fromarray(np.ascontiguousarray(values))
    return picture.resize((picture.width * factor, picture.height * factor))


_Drawn = tuple[Image.Image, Image.Image, str]


def _detection(
    image: Image.Image, factor: int, target: Any, found: Any, classes: Sequence[str]
) -> _Drawn:
    scores, true = found["scores"], len(target["boxes"])
    sure = int((scores >= _SCORE).sum())
    caption = f"{true} true boxes, {sure} found with score {_SCORE} or more"
    strongest = scores.argsort(descending=True)[: sure or true]
    if not sure and len(strongest):
        caption += f"; drawn: the {len(strongest)} strongest, up to {float(scores.max()):.2f}"
    shown = {name: values[strongest] for name, values in found.items()}
    left, right = (_with_boxes(image, factor, boxes, classes) for boxes in (target, shown))
    return left, right, caption


def _with_boxes(
    image: Image.Image, factor: int, entry: dict[str, Tensor], classes: Sequence[str]
) -> Image.Image:
    drawn = image.copy()
    pencil = ImageDraw.Draw(drawn)
    for i, (box, label) in enumerate(zip(entry["boxes"], entry["labels"].tolist(), strict=True)):
        x0, y0, x1, y1 = (box * factor).tolist()
        colour = _COLOURS[label % len(_COLOURS)]
        pencil.rectangle((x0, y0, x1, y1), outline=colour, width=2)
        score = f" {float(entry['scores'][i]):.2f}" if "scores" in entry else ""
        pencil.text((x0 + 3, y0 + 1), classes[label] + score, fill=colour)
    return drawn


def _segmentation(
    image: Image.Image, factor: int, target: Any, found: Any, classes: Sequence[str]
) -> _Drawn:
    guess, counted = found.argmax(0), target != IGNORED
    right = float((guess == target)[counted].float().mean())
    caption = f"{100 * right:.1f} % of the pixels right"
    masks = (target, guess)
    return (*(_with_mask(image, factor, mask) for mask in masks), caption)  # type: ignore[return-value]


def _with_mask(image: Image.Image, factor: int, mask: Tensor) -> Image.Image:
    palette = np.zeros((256, 3), dtype=np.uint8)
    for label in range(IGNORED):
        palette[label] = _COLOURS[label % len(_COLOURS)]
    colours = Image.fromarray(palette[mask.numpy()])
    large = colours.resize(image.size, Image.Resampling.NEAREST)
    return Image.blend(image, large, 0.55)


def _classification(
    image: Image.Image, factor: int, target: Any, found: Any, classes: Sequence[str]
) -> _Drawn:
    truth, guess = (classes[int(label)] for label in (target, found.argmax()))
    share = float(found.softmax(0).max())
    return image, image, f"{truth}, taken for {guess} ({100 * share:.0f} %)"


_DRAWINGS: dict[str, Callable[[Image.Image, int, Any, Any, Sequence[str]], _Drawn]] = {
    "classification": _classification,
    "detection": _detection,
    "segmentation": _segmentation,
}
