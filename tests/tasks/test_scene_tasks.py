"""Tasks with boxes and masks: the provided sets, COCO and mask folders, and broken data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from transnas import InputError, tasks
from transnas.tasks import DataTask
from transnas.tasks._boxes import BoxSplit, check_boxes
from transnas.tasks._masks import MaskSplit
from transnas.tasks._scenes import Frame, Lazy, frame_of, stacked
from transnas.tasks._tensors import concatenate

RNG = np.random.default_rng(0)


def load(path: Path | str, **options: Any) -> DataTask:
    task = tasks.get(str(path), **options)
    assert isinstance(task, DataTask)
    return task


@pytest.mark.parametrize(
    ("name", "file", "classes", "counts"),
    [
        ("bccd", "bccd_320.npz", 3, (205, 87)),
        ("raccoon", "raccoon_320.npz", 1, (128, 32)),
        ("camvid", "camvid_240x180.npz", 11, (367, 101)),
    ],
)
def test_provided_sets(
    name: str, file: str, classes: int, counts: tuple[int, int],
    data_file: Callable[[str], Path],
) -> None:  # fmt: skip
    data_file(f"images/{file}")
    task = load(f"{name}:size=80")
    assert task.name == f"{name}:size=80"
    assert tasks.is_builtin(task.name)
    assert max(task.signature.input_shape) == 80
    assert task.signature.outputs == len(task.classes) == classes
    splits = (task.train, task.validation)
    assert tuple(map(len, splits)) == counts  # type: ignore[arg-type]
    assert task.has_test
    inputs, _ = task.train.batch(torch.arange(len(task.train)))  # type: ignore[attr-defined]
    assert inputs.mean(dim=(0, 2, 3)).abs().max() < 0.02
    assert (inputs.std(dim=(0, 2, 3)) - 1).abs().max() < 0.02


def test_boxes_of_bccd_are_those_of_the_file_in_the_frame(
    data_file: Callable[[str], Path],
) -> None:
    arrays = np.load(data_file("images/bccd_320.npz"), allow_pickle=False)
    task = load("bccd", size=160)
    assert task.signature.input_shape == (3, 120, 160)
    rows = np.flatnonzero(arrays["split"] == 1)
    assert isinstance(task.validation, BoxSplit)
    for i in (0, 40, 86):
        first, last = arrays["box_offsets"][rows[i] : rows[i] + 2]
        np.testing.assert_allclose(
            task.validation.boxes[i], arrays["boxes_xyxy"][first:last] / 2, atol=1e-4
        )
        assert task.validation.labels[i].tolist() == arrays["box_label"][first:last].tolist()
    few = load("bccd:limit=5,size=80")
    assert (len(few.train), len(few.validation)) == (5, 5)  # type: ignore[arg-type]


def test_mirroring_moves_boxes_and_masks_with_the_image() -> None:
    image = torch.zeros(1, 3, 6, 10, dtype=torch.uint8)
    image[0, :, 1:4, 2:5] = 255
    zero, one = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    boxes = BoxSplit(image, (torch.tensor([[2.0, 1, 5, 4]]),), (torch.tensor([0]),), zero, one)
    masks = MaskSplit(image, (image[:, 0] > 0).to(torch.uint8), zero, one)
    seen = set()
    for seed in range(12):
        generator = torch.Generator().manual_seed(seed)
        inputs, (target,) = boxes.batch(torch.tensor([0]), "natural", generator)
        x0, y0, x1, y1 = target["boxes"][0].int().tolist()
        assert (inputs[0, :, y0:y1, x0:x1] == 1).all()
        assert inputs.sum() == 27
        seen.add(x0)
        inputs, mask = masks.batch(torch.tensor([0]), "natural", generator)
        assert ((inputs[0, 0] == 1) == (mask[0] == 1)).all()
    assert seen == {2, 5}


def test_a_frame_keeps_shapes_and_ignores_what_it_adds() -> None:
    frame = Frame(20, 40)
    wide = Image.fromarray(np.full((10, 40, 3), 200, dtype=np.uint8))
    framed = frame.image(wide)
    assert framed[:, :10].min() == 200
    assert framed[:, 10:].max() == 0
    mask = frame.mask(np.full((40, 40), 3, dtype=np.uint8))
    assert (mask[:, :20] == 3).all()
    assert (mask[:, 20:] == 255).all()
    assert frame.scale(40, 40) == 0.5


def test_boxes_are_cut_at_the_border_and_those_without_area_left_out() -> None:
    boxes = np.array([[-0.5, -1, 49, 20.9], [3, 4, 3, 9], [10, 2, 50.6, 19], [7, 5, 9, 5]])
    labels = np.array([1, 1, 0, 1])
    kept, numbers = check_boxes(boxes, labels, (20, 50), ("a", "b"), "x")
    assert kept.tolist() == [[0, 0, 49, 20], [10, 2, 50, 19]]
    assert numbers.tolist() == [1, 0]
    for outside in ([-1.1, 0, 5, 5], [0, -1.1, 5, 5], [0, 0, 51.1, 5], [0, 0, 5, 21.1]):
        with pytest.raises(InputError, match="does not lie in its image of 50x20 pixels"):
            check_boxes(np.array([outside]), labels[:1], (20, 50), ("a", "b"), "x")
    for label in (-1, 2):
        with pytest.raises(InputError, match=rf"label {label} of x is out of range; .*: 0\.\.1"):
            check_boxes(boxes[:1], np.array([label]), (20, 50), ("a", "b"), "x")


def test_a_frame_has_the_shape_of_the_images_if_they_have_one() -> None:
    assert frame_of([(480, 640), (240, 320)], None) == Frame(240, 320)
    assert frame_of([(100, 80)], None) == Frame(100, 80)
    assert frame_of([(100, 200), (101, 200)], 50) == Frame(25, 50)
    assert frame_of([(100, 200), (100, 230)], None) == Frame(230, 230)
    assert frame_of([(480, 640), (640, 480)], None) == Frame(320, 320)


def test_what_does_not_fit_into_memory_is_read_when_asked_for() -> None:
    reads: list[int] = []

    def read(item: int) -> Any:
        reads.append(item)
        return np.full((2, 3), item, dtype=np.uint8)

    now, later = (stacked([4, 5, 6], read, (2, 3), memory=m) for m in (18, 17))
    assert isinstance(later, Lazy)
    reads.clear()
    chosen = torch.tensor([2, 0])
    assert torch.equal(now[chosen], later[chosen])
    assert sorted(reads) == [4, 6]
    assert later.shape == now.shape


@pytest.mark.parametrize("later", [(False, True), (True, False), (True, True)])
def test_splits_that_are_read_from_files_are_joined_too(later: tuple[bool, bool]) -> None:
    pixels = RNG.integers(0, 255, (7, 3, 4, 6)).astype(np.uint8)
    zero, one = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    tasks_of = []
    for kept in ((False, False), later):
        parts = []
        for rows, apart in zip((range(4), range(4, 7)), kept, strict=True):
            memory = 0 if apart else 10**6
            images = stacked(rows, lambda i: pixels[i], (3, 4, 6), memory)
            masks = stacked(rows, lambda i: pixels[i, 0], (4, 6), memory)
            boxes = tuple(torch.full((1, 4), float(i)) for i in rows)
            labels = tuple(torch.tensor([i]) for i in rows)
            parts.append(
                (MaskSplit(images, masks, zero, one), BoxSplit(images, boxes, labels, zero, one))
            )
        tasks_of.append([concatenate(*pair).to("cpu") for pair in zip(*parts, strict=True)])  # type: ignore[attr-defined]
    for chosen in (torch.tensor([6, 0, 4, 3]), torch.tensor([5, 4]), torch.tensor([1])):
        (inputs, masks), (same, same_masks) = (pair[0].batch(chosen) for pair in tasks_of)
        assert torch.equal(inputs, same)
        assert torch.equal(masks, same_masks)
        (inputs, targets), (same, same_targets) = (pair[1].batch(chosen) for pair in tasks_of)
        assert torch.equal(inputs, same)
        assert [t["labels"].tolist() for t in targets] == [[i] for i in chosen.tolist()]
        assert [t["boxes"].tolist() for t in targets] == [t["boxes"].tolist() for t in same_targets]
    assert [len(split) for split in tasks_of[1]] == [7, 7]


def write_coco(folder: Path, count: int = 6, **changes: Any) -> Path:
    """Write images of two sizes, one box each; `changes` replace keys of the first annotation."""
    (folder / "annotations").mkdir(parents=True)
    (folder / "images").mkdir()
    images, annotations = [], []
    for i in range(count):
        width, height = (64, 48) if i % 2 else (48, 64)
        pixels = RNG.integers(0, 255, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": width, "height": height})
        box = {"id": i, "image_id": i, "category_id": 7, "bbox": [4, 6, 20, 10], "iscrowd": 0}
        annotations.append(box)
    annotations[0] |= changes
    annotations.append({**annotations[1], "id": 99, "bbox": [1, 1, 0, 5]})
    annotations.append({**annotations[1], "id": 98, "iscrowd": 1})
    categories = [{"id": 9, "name": "dog"}, {"id": 7, "name": "cat"}]
    data = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "instances.json").write_text(json.dumps(data))
    return folder


def test_a_coco_folder(tmp_path: Path) -> None:
    task = load(write_coco(tmp_path / "pets", 10), size=80)
    assert task.name == "pets"
    assert task.classes == ("cat", "dog")
    assert task.signature.input_shape == (3, 80, 80)
    assert isinstance(task.train, BoxSplit)
    assert (len(task.train), len(task.validation)) == (6, 2)  # type: ignore[arg-type]
    for boxes, labels in zip(task.train.boxes, task.train.labels, strict=True):
        assert labels.tolist() == [0]
        np.testing.assert_allclose(boxes, [[5, 7.5, 30, 20]])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bbox": [4, 6, -20, 10]}, "does not lie in its image"),
        ({"bbox": [4, 6, 200, 10]}, "does not lie in its image of 48x64 pixels"),
        ({"bbox": [4, float("nan"), 20, 10]}, "NaN or infinity"),
        ({"bbox": [4, 6, 20]}, "lacks or misuses"),
        ({"category_id": 8}, "lacks or misuses"),
        ({"image_id": 77}, "lacks or misuses 77"),
    ],
)
def test_broken_boxes(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        load(write_coco(tmp_path / "pets", **changes))


def test_an_image_in_two_splits_of_a_coco_folder_is_refused(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "pets")
    (annotations,) = (folder / "annotations").iterdir()
    data = json.loads(annotations.read_text())
    some = {**data, "images": data["images"][4:], "annotations": data["annotations"][4:6]}
    (folder / "annotations" / "instances_val.json").write_text(json.dumps(some))
    annotations.rename(folder / "annotations" / "instances_trainval.json")
    with pytest.raises(InputError, match=r"image '4\.png' is in the splits train and validation"):
        load(folder)


def test_boxes_for_another_size_than_the_images_is_are_refused(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "pets")
    Image.new("RGB", (64, 48)).save(folder / "images" / "2.png")  # turned by a camera's mark
    with pytest.raises(InputError, match=r"'2\.png' has 64x48 pixels and its boxes are for 48x64"):
        load(folder)


def test_missing_and_empty_images_and_files(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "pets")
    (folder / "images" / "3.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"image '3\.png' is not readable"):
        load(folder)
    (folder / "images" / "3.png").unlink()
    with pytest.raises(InputError, match=r"image '3\.png' of .* is missing"):
        load(folder)
    (folder / "annotations" / "instances.json").write_text("{}")
    with pytest.raises(InputError, match="is not readable"):
        load(folder)


def write_masks(
    folder: Path, count: int = 5, top: int = 2, shape: tuple[int, int] = (24, 32)
) -> Path:
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    (folder / "classes.txt").write_text("ground\nsky\nroad\n")
    for i in range(count):
        pixels = RNG.integers(0, 255, (24, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{i}.jpg")
        mask = np.full(shape, 255, dtype=np.uint8)
        mask[: shape[0] // 2] = i % (top + 1)
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return folder


def test_a_folder_of_masks(tmp_path: Path) -> None:
    task = load(write_masks(tmp_path / "land"))
    assert task.signature == tasks.Signature((3, 24, 32), 3, "segmentation")
    assert task.metric == "validation_miou"
    _, masks = task.train.batch(torch.arange(3))  # type: ignore[attr-defined]
    assert (masks[:, 12:] == 255).all()
    assert set(masks[:, :12].unique().tolist()) <= {0, 1, 2}


@pytest.mark.parametrize(("count", "shares"), [(3, (1, 1, 1)), (5, (3, 1, 1)), (11, (7, 2, 2))])
def test_every_split_of_a_folder_has_an_image(
    count: int, shares: tuple[int, ...], tmp_path: Path
) -> None:
    task = load(write_masks(tmp_path / "land", count))
    splits = (task.train, task.validation, task._test)
    assert tuple(map(len, splits)) == shares  # type: ignore[arg-type]
    few = write_masks(tmp_path / "few", count=2)
    with pytest.raises(
        InputError, match=r"few has 2 image\(s\) to split into train, validation, test; .* least 3"
    ):
        load(few)
    (few / "train").mkdir()
    for kind in ("images", "masks"):
        (few / kind).rename(few / "train" / kind)
    halves = load(few)
    assert (len(halves.train), len(halves.validation)) == (1, 1)  # type: ignore[arg-type]
    assert not halves.has_test


def test_broken_masks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has class 3; accepted: 0\.\.2, or 255"):
        load(write_masks(tmp_path / "unknown", top=3))
    with pytest.raises(InputError, match="has 30x24 pixels and its image 32x24"):
        load(write_masks(tmp_path / "sizes", shape=(24, 30)))
    folder = write_masks(tmp_path / "missing")
    (folder / "masks" / "2.png").unlink()
    with pytest.raises(InputError, match="has no mask of its name"):
        load(folder)
    colour = write_masks(tmp_path / "colour")
    Image.new("RGB", (32, 24)).save(colour / "masks" / "2.png")
    with pytest.raises(InputError, match="of mode RGB; accepted: one channel"):
        load(colour)
    (colour / "classes.txt").unlink()
    with pytest.raises(InputError, match=r"has no classes\.txt"):
        load(colour)
    with pytest.raises(InputError, match="augmentation 'shift' does not fit"):
        load(write_masks(tmp_path / "moved"), augmentation="shift")
    ignored = write_masks(tmp_path / "ignored")
    for path in (ignored / "masks").iterdir():
        Image.new("L", (32, 24), 255).save(path)
    with pytest.raises(InputError, match=r"\((train|validation)\) has no pixel of a class"):
        load(ignored)


def test_what_editors_and_systems_add_to_a_folder_of_masks(tmp_path: Path) -> None:
    folder = write_masks(tmp_path / "land")
    (folder / "images" / "._0.jpg").write_bytes(b"a Mac's notes")
    (folder / "classes.txt").write_text("\ufeffground\nsky\nroad\n", encoding="utf-8")
    assert load(folder).classes == ("ground", "sky", "road")
    (folder / "classes.txt").write_text("béton\nciel\nroute\n", encoding="latin-1")
    with pytest.raises(InputError, match=r"classes\.txt' is not readable .*; accepted: UTF-8"):
        load(folder)


def test_two_folders_of_one_split_are_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "validation"):
        write_masks(tmp_path / "land" / split)
    with pytest.raises(InputError, match="has two folders for validation"):
        load(tmp_path / "land")


def test_a_cityscapes_folder(tmp_path: Path) -> None:
    for split in ("train", "val"):
        for kind in ("leftImg8bit", "gtFine"):
            (tmp_path / "city" / kind / split / "ulm").mkdir(parents=True)
        for i in range(2):
            pixels = RNG.integers(0, 255, (16, 32, 3)).astype(np.uint8)
            place = tmp_path / "city" / "leftImg8bit" / split / "ulm" / f"{i}_leftImg8bit.png"
            Image.fromarray(pixels).save(place)
            ids = np.full((16, 32), 7, dtype=np.uint8)  # road
            ids[:4], ids[4:8] = 0, 33  # unlabelled, bicycle
            place = tmp_path / "city" / "gtFine" / split / "ulm" / f"{i}_gtFine_labelIds.png"
            Image.fromarray(ids).save(place)
    task = load(tmp_path / "city")
    assert len(task.classes) == 19
    assert not task.has_test
    _, masks = task.validation.batch(torch.tensor([1]))  # type: ignore[attr-defined]
    rows = [set(masks[0, a:b].unique().tolist()) for a, b in ((0, 4), (4, 8), (8, 16))]
    assert rows == [{255}, {task.classes.index("bicycle")}, {task.classes.index("road")}]


def test_options_in_a_name_are_options(data_file: Callable[[str], Path]) -> None:
    data_file("images/camvid_240x180.npz")
    with pytest.raises(InputError, match="'limit' is given twice"):
        tasks.get("camvid:limit=4", limit=5)
    with pytest.raises(InputError, match="gives an option twice"):
        tasks.get("camvid:limit=4,limit=5")
    with pytest.raises(InputError, match="task option 'limits' is unknown"):
        tasks.get("camvid:limits=4")
    with pytest.raises(InputError, match="size 'small' is not accepted"):
        tasks.get("camvid:size=small")
    halved, third = tasks.get("digits:held_out=0.25"), tasks.get("digits", held_out=0.25)
    assert len(halved.train) == len(third.train)  # type: ignore[attr-defined]
