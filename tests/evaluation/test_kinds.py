"""Metrics of detection and segmentation against countings written out, and their trainings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from transnas import InputError, networks, spaces
from transnas.evaluation import CostEvaluator, Latency, Training, ZeroCost
from transnas.evaluation._kinds import kind_of
from transnas.evaluation._precision import average_precision
from transnas.evaluation.recipe import Recipe
from transnas.tasks import DataTask, Signature
from transnas.tasks._boxes import BoxSplit
from transnas.tasks._masks import MaskSplit

SPACE = spaces.get("residual-small")
ARCH = SPACE.from_text("basic_8_1-21-2-1")
ZERO, ONE = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)


def test_accuracies_are_counted_over_batches_of_any_size() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(57, 20, generator=generator), torch.arange(57) % 20
    measure = kind_of("classification").measure
    batches = zip(scores.split(25), labels.split(25), strict=True)
    found = measure(nn.Identity(), batches)
    ranks = [
        sorted(row, reverse=True).index(row[k])
        for row, k in zip(scores.tolist(), labels.tolist(), strict=True)
    ]
    assert found["accuracy"] == pytest.approx(sum(r == 0 for r in ranks) / 57)
    assert found["top5_accuracy"] == pytest.approx(sum(r < 5 for r in ranks) / 57)
    assert found["loss"] == pytest.approx(float(F.cross_entropy(scores, labels)))
    few = measure(nn.Identity(), [(scores[:, :10], labels % 10)])
    assert set(few) == {"accuracy", "loss"}


def iou(a: list[float], b: list[float]) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return both / (sum(areas) - both)


def precision_by_hand(found: list[dict[str, Tensor]], truth: list[dict[str, Tensor]]) -> float:
    """Return COCO's mean average precision, as its definition reads, box after box."""
    values = []
    for label in sorted({int(v) for t in truth for v in t["labels"]}):
        for threshold in np.arange(0.5, 0.96, 0.05):
            total, hits = 0, []
            for image, (f, t) in enumerate(zip(found, truth, strict=True)):
                true = [
                    b.tolist() for b, v in zip(t["boxes"], t["labels"], strict=True) if v == label
                ]
                total += len(true)
                taken: set[int] = set()
                order = sorted(range(len(f["scores"])), key=lambda i: -float(f["scores"][i]))
                for i in (i for i in order if f["labels"][i] == label):
                    free = [j for j in range(len(true)) if j not in taken]
                    best = max(free, key=lambda j: iou(f["boxes"][i].tolist(), true[j]), default=-1)
                    hit = best >= 0 and iou(f["boxes"][i].tolist(), true[best]) >= threshold - 1e-9
                    taken |= {best} if hit else set()
                    hits.append((-float(f["scores"][i]), image, hit))
            right = np.cumsum([hit for *_, hit in sorted(hits, key=lambda h: h[0])])
            count = np.arange(1, len(right) + 1)
            recall, precision = right / total, right / count
            levels = np.linspace(0, 1, 101)
            values.append(np.mean([precision[recall >= r].max(initial=0.0) for r in levels]))
    return float(np.mean(values))


def test_average_precision_is_cocos_definition() -> None:
    rng = np.random.default_rng(0)
    truth, found = [], []
    for _ in range(12):
        corners = rng.uniform(0, 60, (5, 2))
        boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (5, 2))], axis=1)
        labels = rng.integers(0, 2, 5)
        truth.append({"boxes": torch.tensor(boxes), "labels": torch.tensor(labels)})
        moved = np.concatenate([boxes + rng.normal(0, 2, boxes.shape), boxes[:2] + 40])
        found.append(
            {
                "boxes": torch.tensor(moved),
                "labels": torch.tensor(np.concatenate([labels, labels[:2]])),
                "scores": torch.tensor(rng.permutation(1000)[:7] / 1000),
            }
        )
    value = average_precision(found, truth)["map"]
    assert 0.1 < value < 0.95
    assert value == pytest.approx(precision_by_hand(found, truth), abs=1e-6)


def test_average_precision_at_its_ends() -> None:
    truth = [{"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([2])}]
    perfect = [{**truth[0], "scores": torch.tensor([0.3])}]
    nothing = [
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0).long(), "scores": torch.zeros(0)}
    ]
    wrong = [{**perfect[0], "labels": torch.tensor([1])}]
    assert average_precision(perfect, truth)["map"] == pytest.approx(1.0)
    for found in (nothing, wrong):
        assert average_precision(found, truth) == {"map": 0.0, "map50": 0.0, "map75": 0.0}


class Fixed(nn.Module):
    """Gives the scores that it was made with, batch after batch."""

    def __init__(self, scores: Tensor) -> None:
        super().__init__()
        self.scores = scores

    def forward(self, images: Tensor) -> Tensor:
        return self.scores[: len(images)]


def test_intersection_over_union_is_counted_over_all_pixels() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(4, 5, 6, 7, generator=generator)
    masks = torch.randint(0, 4, (4, 6, 7), generator=generator)  # class 4 never occurs in truth
    scores[:, 3] = -9.0  # class 3 is never predicted
    masks[0, :2] = 255
    found = kind_of("segmentation").measure(Fixed(scores), [(torch.zeros(4, 3, 6, 7), masks)])
    guess, counted = scores.argmax(1), masks != 255
    values = []
    for label in range(5):
        true, said = (masks == label) & counted, (guess == label) & counted
        values.append(float((true & said).sum() / (true | said).sum()))
    assert found["miou"] == pytest.approx(np.mean(values))
    assert found["pixel_accuracy"] == pytest.approx(float((guess == masks)[counted].float().mean()))
    loss = -scores.log_softmax(1).gather(1, masks.clamp(max=4)[:, None])[:, 0][counted].mean()
    assert found["loss"] == pytest.approx(float(loss), rel=1e-5)


def test_ignored_pixels_count_nothing_in_the_loss_of_segmentation() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(3, 5, 4, 4, generator=generator, requires_grad=True)
    masks = torch.randint(0, 5, (3, 4, 4), generator=generator)
    masks[0], masks[1, 1:] = 255, 255
    kind, recipe = kind_of("segmentation"), Recipe(label_smoothing=0.1)
    loss = kind.loss(Fixed(scores), torch.zeros(3, 3, 4, 4), masks, recipe)
    some = F.cross_entropy(
        scores.permute(0, 2, 3, 1)[masks != 255], masks[masks != 255], label_smoothing=0.1
    )
    assert loss.item() == pytest.approx(some.item(), rel=1e-5)
    none = kind.loss(Fixed(scores), torch.zeros(1, 3, 4, 4), masks[:1], recipe)
    none.backward()  # type: ignore[no-untyped-call]
    assert none.item() == 0
    assert scores.grad is not None
    assert not scores.grad.any()


def test_the_loss_of_detection_is_the_sum_of_its_parts() -> None:
    class Parts(nn.Module):
        def forward(self, images: Tensor, targets: object) -> dict[str, Tensor]:
            return {"boxes": images.sum(), "classes": images.mean()}

    images = torch.randn(2, 3, 4, 4)
    loss = kind_of("detection").loss(Parts(), images, [], Recipe())
    torch.testing.assert_close(loss, images.sum() + images.mean())


def squares(count: int, side: int = 64, seed: int = 0) -> tuple[Tensor, list[tuple[int, ...]]]:
    """Return black images with one bright red or green square each, and (x, y, width, class)."""
    rng = np.random.default_rng(seed)
    images, places = torch.zeros(count, 3, side, side, dtype=torch.uint8), []
    for image in images:
        width, label = int(rng.integers(side // 3, side // 2)), int(rng.integers(2))
        x, y = rng.integers(0, side - width, 2).tolist()
        image[label, y : y + width, x : x + width] = 255
        places.append((x, y, width, label))
    return images, places


def masks_task(count: int = 16) -> DataTask:
    def split(seed: int) -> MaskSplit:
        images, places = squares(count, 32, seed)
        masks = torch.zeros(count, 32, 32, dtype=torch.uint8)
        for mask, (x, y, w, label) in zip(masks, places, strict=True):
            mask[y : y + w, x : x + w] = 1 + label
        return MaskSplit(images, masks, ZERO, ONE)

    signature = Signature((3, 32, 32), 3, "segmentation")
    return DataTask(
        "masks", signature, "validation_miou", train=split(0), validation=split(1),
        augmentation="natural", _test=split(2),
    )  # fmt: skip


def boxes_task(count: int = 16) -> DataTask:
    def split(seed: int) -> BoxSplit:
        images, places = squares(count, 64, seed)
        boxes = tuple(torch.tensor([[x, y, x + w, y + w]]).float() for x, y, w, _ in places)
        labels = tuple(torch.tensor([label]) for *_, label in places)
        return BoxSplit(images, boxes, labels, ZERO, ONE)

    signature = Signature((3, 64, 64), 2, "detection")
    return DataTask(
        "boxes", signature, "validation_map", train=split(0), validation=split(1),
        augmentation="natural", _test=split(2),
    )  # fmt: skip


def test_segmentation_learns_and_repeats() -> None:
    training = Training(masks_task(), SPACE, Recipe(batch_size=4, learning_rate=0.1))
    found = training.evaluate(ARCH, 10)
    assert set(found.metrics) == training.reports()
    assert found.status == "complete", found.error
    assert found.metrics["validation_miou"] > 0.6
    first, second = (training.evaluate(ARCH, 1, seed=3).metrics for _ in range(2))
    assert first == second


@pytest.mark.slow
def test_detection_learns() -> None:
    training = Training(boxes_task(40), SPACE, Recipe(batch_size=4, learning_rate=0.02))
    found = training.evaluate(ARCH, 10)
    assert set(found.metrics) == training.reports()
    assert found.status == "complete", found.error
    assert found.metrics["validation_map50"] > 0.5


def test_detection_trains_and_repeats() -> None:
    training = Training(boxes_task(4), SPACE)
    first, second = (training.evaluate(ARCH, 1, seed=3) for _ in range(2))
    assert first.status == "complete", first.error
    assert first.metrics == second.metrics
    assert set(first.metrics) >= {"validation_map", "train_loss", "parameters", "flops"}


@pytest.mark.parametrize("task", [boxes_task(2), masks_task(2)], ids=["boxes", "masks"])
def test_costs_and_latency_of_both_kinds(task: DataTask) -> None:
    small, large = ARCH, SPACE.from_text("basic_16_1-21-2-1")
    cost = CostEvaluator(task, SPACE, batch_size=2)
    one, two = cost.evaluate(small).metrics, cost.evaluate(large).metrics
    assert all(0 < one[name] < two[name] for name in one)
    found = Latency(task, SPACE, repeats=3).evaluate(small)
    assert found.metrics["latency_ms"] > 0


def test_a_detectors_flops_are_of_what_does_not_depend_on_the_image() -> None:
    task, found = boxes_task(2), []
    for head in (16, 64):
        skeleton = {**networks.suggest(SPACE, task.signature), "head": head}
        found.append(CostEvaluator(task, SPACE, batch_size=2, skeleton=skeleton).evaluate(ARCH))
    one, two = (f.metrics for f in found)
    assert one["parameters"] < two["parameters"]
    assert one["flops"] == two["flops"] > 0


def test_what_is_for_classification_only_says_so() -> None:
    with pytest.raises(InputError, match="task 'masks' is for segmentation"):
        ZeroCost(masks_task(2), SPACE)
    with pytest.raises(InputError, match=r"no networks for segmentation; accepted: nasbench201"):
        Training(masks_task(2), spaces.get("nasnet"))
    with pytest.raises(InputError, match=r"no networks for detection; accepted: nasbench201"):
        CostEvaluator(boxes_task(2), spaces.get("darts"))


@pytest.mark.parametrize(
    ("module", "kind"), [("faster_coco_eval", "detection"), ("torchmetrics", "segmentation")]
)
def test_a_missing_extra_is_named_before_training(
    module: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    task = boxes_task(2) if kind == "detection" else masks_task(2)
    with pytest.raises(InputError, match=r"pip install 'transnas\[detection\]'"):
        Training(task, SPACE)
