"""Studies of detection and segmentation from search to report, export and pictures."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import transnas as tn
from transnas import InputError, networks, spaces, tasks
from transnas.cli._search import _next_steps
from transnas.evaluation.training import measure, workplace
from transnas.studies.export import export, load_network
from transnas.studies.final import train_final
from transnas.studies.pictures import obstacle, pictures, predictions, retrained
from transnas.studies.report import report_html
from transnas.tasks import DataTask, Signature
from transnas.tasks._boxes import BoxSplit
from transnas.tasks._masks import MaskSplit

SPACE = spaces.get("residual-small")
ARCH = SPACE.from_text("basic_8_1-21-2-1")
ZERO, ONE = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)


def images(side: int) -> torch.Tensor:
    found = torch.zeros(6, 3, side, side, dtype=torch.uint8)
    found[:, 1, 8:24, 4:20] = 250
    return found


def masks_task() -> DataTask:
    masks = (images(32)[:, 1] > 0).to(torch.uint8)
    split = MaskSplit(images(32), masks, ZERO, ONE)
    signature = Signature((3, 32, 32), 2, "segmentation")
    return DataTask(
        "land", signature, "validation_miou", train=split, validation=split,
        classes=("ground", "house"), _test=split,
    )  # fmt: skip


def boxes_task() -> DataTask:
    box, label = torch.tensor([[4.0, 8, 20, 24]]), torch.tensor([0])
    split = BoxSplit(images(64), (box,) * 6, (label,) * 6, ZERO, ONE)
    signature = Signature((3, 64, 64), 1, "detection")
    return DataTask(
        "pets", signature, "validation_map", train=split, validation=split,
        classes=("cat",), _test=split,
    )  # fmt: skip


def test_a_search_by_default_space_shows_its_predictions(tmp_path: Path) -> None:
    task = masks_task()
    storage = f"sqlite:///{tmp_path}/s.db"
    study = tn.search(task, strategy="random", trials=2, epochs=1, storage=storage, progress=False)
    assert study.space.name == "residual-small"
    assert study.best is not None
    assert study.objectives[0].metric == "validation_miou"
    drawn = pictures(study, task, 2)
    assert [p.caption.split(":")[0] for p in drawn] == ["validation image 0", "validation image 5"]
    page = report_html([study], pictures={study.name: drawn})
    assert page.count("data:image/jpeg;base64,") == 2
    assert "img-src data:" in page  # or a browser shows none of them
    assert "pixels right" in page
    assert "<i style='background:rgb(255, 214, 10)'></i>ground" in page
    assert "Validation mIoU against trials" in page
    other = boxes_task()
    with pytest.raises(InputError, match="does not go with task 'pets'"):
        pictures(study, other)
    mine = replace(study, definition=replace(study.definition, data="aa"))
    with pytest.raises(InputError, match="or with its data"):
        pictures(mine, replace(task, digest="bb"))


@pytest.mark.parametrize("strategy", ["random", "successive-halving"])
def test_the_network_that_is_drawn_is_that_of_the_best_trial(strategy: str) -> None:
    task = tasks.get("digits", limit=12)
    assert isinstance(task, DataTask)
    halving = strategy != "random"
    rungs = {"min_epochs": 1, "max_epochs": 2, "eta": 2, "architectures": 2}
    study = tn.search(
        task, strategy=strategy, trials=3, epochs=None if halving else 2, storage="memory://",
        name=f"drawn {strategy}", progress=False,
        settings=rungs if halving else {},
    )  # fmt: skip
    assert study.best is not None
    network = retrained(study, task, "cpu").eval()
    found = measure(network, task.validation, workplace("cpu"))
    assert found["loss"] == pytest.approx(study.best.metrics["validation_loss"], rel=1e-5)


def test_the_network_is_that_of_the_best_trial_however_late_it_was_told() -> None:
    """With several workers, trials have other numbers than their asks."""
    task = tasks.get("digits", limit=12)
    assert isinstance(task, DataTask)
    study = tn.search(
        task, strategy="random", trials=1, epochs=2, storage="memory://", name="drawn late",
        progress=False,
    )  # fmt: skip
    study.trials[0] = replace(study.trials[0], number=2)
    assert study.best is not None
    network = retrained(study, task, "cpu").eval()
    found = measure(network, task.validation, workplace("cpu"))
    assert found["loss"] == pytest.approx(study.best.metrics["validation_loss"], rel=1e-5)


def test_what_cannot_be_drawn_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a b c\n" * 60)
    (tmp_path / "valid.txt").write_text("a b c\n" * 20)
    text = tasks.get(str(tmp_path))
    study = tn.search(
        text, strategy="random", trials=1, epochs=1, storage="memory://", name="text",
        progress=False,
    )  # fmt: skip
    with pytest.raises(InputError, match="predictions of space 'darts-recurrent' are not drawn"):
        pictures(study, text)
    shown = _next_steps(study, str(tmp_path), 1, ["search"])
    assert "--pictures" not in shown
    assert f"transnas train --study text --storage memory:// --task {tmp_path} --out" in shown


def test_a_network_with_inherited_weights_is_not_drawn() -> None:
    task = tasks.get("digits", limit=6)
    study = tn.search(
        task, "path-level", "path-level", trials=2, epochs=1, storage="memory://", name="grown",
        progress=False,
    )  # fmt: skip
    for trial, drawn in zip(study.trials, (True, False), strict=True):
        assert (obstacle(replace(study, trials=[trial])) is None) == drawn
    with pytest.raises(InputError, match="began with weights of earlier trials"):
        pictures(replace(study, trials=study.trials[1:]), task)


def test_drawn_boxes_and_masks_lie_where_they_are() -> None:
    class Sees(torch.nn.Module):
        """Finds one square, and takes all pixels for class 1."""

        def __init__(self, kind: str, scores: tuple[float, float] = (0.9, 0.2)) -> None:
            super().__init__()
            self.kind, self.scores = kind, torch.tensor(scores)

        def forward(self, x: torch.Tensor) -> object:
            if self.kind == "segmentation":
                return torch.tensor([0.0, 1.0])[None, :, None, None].expand(len(x), 2, *x.shape[2:])
            box = torch.tensor([[30.0, 30, 50, 50], [0, 0, 9, 9]])
            labels = torch.tensor([0, 0])
            return [{"boxes": box, "labels": labels, "scores": self.scores}] * len(x)

    (picture,) = predictions(Sees("detection"), boxes_task(), 1)
    assert picture.caption.endswith("1 true box, 1 found with score 0.5 or more")
    pixels = np.asarray(Image.open(io.BytesIO(picture.jpeg))).astype(int)
    half, factor = (pixels.shape[1] - 6) // 2, 6
    assert pixels[10 * factor, 4 * factor, 0] > 180  # the truth's left edge, yellow
    assert pixels[40 * factor, half + 6 + 30 * factor, 0] > 180
    assert pixels[4 * factor, half + 6 + 9 * factor, 0] < 60
    (unsure,) = predictions(Sees("detection", (0.3, 0.2)), boxes_task(), 1)
    assert unsure.caption.endswith(
        "0 found with score 0.5 or more; drawn: the strongest, up to 0.30"
    )
    pixels = np.asarray(Image.open(io.BytesIO(unsure.jpeg))).astype(int)
    assert pixels[40 * factor, half + 6 + 30 * factor, 0] > 180
    assert pixels[4 * factor, half + 6 + 9 * factor, 0] < 60
    (picture,) = predictions(Sees("segmentation"), masks_task(), 1)
    assert picture.caption.endswith("25.0% of the pixels right")
    assert picture.colours == {"ground": "rgb(255, 214, 10)", "house": "rgb(10, 200, 255)"}


def test_an_image_of_a_class_is_drawn_once_with_what_it_was_taken_for() -> None:
    class Zero(torch.nn.Module):
        """Takes every image for class 0."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.eye(10)[0].expand(len(x), 10)

    task = tasks.get("digits", limit=40)
    assert isinstance(task, DataTask)
    drawn = predictions(Zero(), task, 6)
    for picture in drawn:
        number, said = picture.caption.removeprefix("validation image ").split(": ")
        truth = int(task.validation[int(number)][1])
        assert said.split(" (")[0] == ("0, recognised" if truth == 0 else f"{truth}, taken for 0")
    pixels = np.asarray(Image.open(io.BytesIO(drawn[0].jpeg)))
    assert pixels.shape[0] == pixels.shape[1]  # one picture, not the same one twice
    squares = pixels.reshape(8, 50, 8, 50, 3).astype(int).swapaxes(1, 2)[:, :, 10:-10, 10:-10]
    assert np.ptp(squares, axis=(2, 3)).max() < 20  # each of the 8 x 8 pixels is one grey


@pytest.mark.slow
def test_a_segmentation_network_is_trained_tested_and_exported(tmp_path: Path) -> None:
    task = masks_task()
    network, test = train_final(task, SPACE, ARCH, epochs=1)
    assert set(test.metrics) == {"test_miou", "test_pixel_accuracy", "test_loss"}
    written = export(network, task.signature, tmp_path, ("safetensors", "onnx", "torch"))
    assert set(written.differences) == {"onnx", "torch"}
    again = load_network(tmp_path)
    assert networks.origin(again) == networks.origin(network)
    batch = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(again(batch), network(batch))


def test_a_detector_is_trained_and_written_as_safetensors(tmp_path: Path) -> None:
    task = boxes_task()
    network, test = train_final(task, SPACE, ARCH, epochs=1)
    assert set(test.metrics) == {"test_map", "test_map50", "test_map75"}
    with pytest.raises(InputError, match="'onnx' does not fit a detector; accepted: safetensors"):
        export(network, task.signature, tmp_path, ("safetensors", "onnx"))
    export(network, task.signature, tmp_path, ("safetensors",))
    batch = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        first, second = network(batch)[0], load_network(tmp_path)(batch)[0]
    assert all(torch.equal(first[name], second[name]) for name in first)
