""".npz files and the user's own data sets: layouts, and every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from transnas import InputError, tasks
from transnas.tasks import DataTask, Signature
from transnas.tasks._tensors import TensorSplit

torch.set_num_threads(1)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 6, 5), dtype=np.uint8)
LABELS = np.arange(40) % 4


def load(path: Path, **arrays: Any) -> DataTask:
    if arrays:
        np.savez(path, **arrays)
    task = tasks.get(str(path))
    assert isinstance(task, DataTask)
    return task


def tensors(dataset: object) -> TensorSplit:
    assert isinstance(dataset, TensorSplit)
    return dataset


def sizes(task: DataTask) -> list[int]:
    return [len(tensors(s)) for s in (task.train, task.validation, task._test) if s is not None]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def test_layouts(file: Path) -> None:
    assert load(file, x=IMAGES, y=LABELS).signature == Signature((1, 6, 5), 4)
    channels_last = IMAGES[..., None].repeat(3, 3)
    assert load(file, images=channels_last, label=LABELS).signature.input_shape == (3, 6, 5)
    channels_first = IMAGES[:, None].repeat(3, 1)
    assert load(file, x=channels_first, y=LABELS).signature.input_shape == (3, 6, 5)
    assert load(file, x=IMAGES / 255.0, y=LABELS.astype(float)).name == "mine"


def test_given_splits_are_kept(file: Path) -> None:
    words = np.array(["train"] * 24 + ["val"] * 8 + ["test"] * 8)
    task = load(file, x=IMAGES, y=LABELS, split=words)
    assert sizes(task) == [24, 8, 8]
    assert np.array_equal(tensors(task._test).images[:, 0].numpy(), IMAGES[32:])
    numbers = np.repeat([0, 1, 2], (24, 8, 8))
    assert sizes(load(file, x=IMAGES, y=LABELS, split=numbers)) == [24, 8, 8]
    assert sizes(load(file, x=IMAGES, y=LABELS, is_test=np.arange(40) >= 20)) == [16, 4, 20]
    task = load(
        file, x_train=IMAGES[:20], y_train=LABELS[:20], x_test=IMAGES[20:], y_test=LABELS[20:]
    )
    assert sizes(task) == [16, 4, 20]


def test_class_names(file: Path) -> None:
    assert load(file, x=IMAGES, y=LABELS).classes == ("0", "1", "2", "3")
    named = load(file, x=IMAGES, y=LABELS, class_names=np.array(list("abcd")))
    assert named.classes == tuple("abcd")
    words = load(file, x=IMAGES, y=np.array(["dog", "cat"])[LABELS % 2])
    assert words.classes == ("cat", "dog")
    train = tensors(words.train)
    for image, label in zip(train.images[:, 0].numpy(), train.labels.tolist(), strict=True):
        index = int(np.flatnonzero((image == IMAGES).all((1, 2)))[0])
        assert label == 1 - index % 2


NAN = (IMAGES / 255.0).copy()
NAN[7, 2, 2] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES}, r"has arrays \['x'\]"),
        ({"x": IMAGES, "y": LABELS[:39]}, "images of shape .* and labels of shape"),
        ({"x": IMAGES, "y": LABELS[:, None]}, "labels of shape"),
        ({"x": IMAGES[:, :, 0], "y": LABELS}, "images of file .* have shape"),
        ({"x": np.zeros((40, 6, 5, 7)), "y": LABELS}, "images of file .* have shape"),
        ({"x": IMAGES[:0], "y": LABELS[:0]}, "holds no images"),
        ({"x": np.zeros((40, 0, 5)), "y": LABELS}, "accepted: no zeros"),
        ({"x": IMAGES.astype("U3"), "y": LABELS}, "accepted: numbers"),
        ({"x": IMAGES * 1j, "y": LABELS}, "accepted: numbers"),
        ({"x": NAN, "y": LABELS}, "image 7 of mine .* holds NaN"),
        ({"x": IMAGES, "y": LABELS - 1}, r"label -1 of image 0 of .* out of range; accepted: 0..2"),
        (
            {"x": IMAGES, "y": LABELS, "class_names": np.array(["a", "b", "c"])},
            "label 3 of image 3",
        ),
        ({"x": IMAGES, "y": LABELS * 10**9}, "more than there are images"),
        ({"x": IMAGES, "y": LABELS * 2}, r"class '1' of mine has 0 image\(s\)"),
        ({"x": IMAGES, "y": LABELS + 0.5}, "accepted: whole numbers"),
        ({"x": IMAGES, "y": np.where(LABELS == 0, np.nan, LABELS)}, "accepted: whole numbers"),
        ({"x": IMAGES, "y": LABELS * 0}, r"has 1 class\(es\)"),
        ({"x": IMAGES, "y": LABELS, "split": np.array(["train"])}, "accepted: one an image"),
        ({"x": IMAGES, "y": LABELS, "split": np.array(["trian"] * 40)}, "holds 'trian'"),
        ({"x": IMAGES, "y": LABELS, "is_test": np.ones(40)}, "has no train split"),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES[:, :5], "y_test": LABELS},
            "splits of mine differ in shape",
        ),
        (
            {"x_train": IMAGES, "y_train": LABELS, "x_test": IMAGES / 255, "y_test": LABELS},
            r"splits of mine differ in type \(train uint8, test float64\)",
        ),
        ({"x_train": IMAGES, "y_train": LABELS[:9]}, "40 images and 9 labels"),
        ({"x": IMAGES, "y": LABELS.astype(object)}, "pickled objects, which are never read"),
    ],
)
def test_bad_files_are_refused_in_one_sentence(
    file: Path, arrays: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(file, **arrays)
    assert "\n" not in str(caught.value)


def refused(path: Path) -> str | None:
    """Return the sentence that refuses `path`; None if it is read."""
    try:
        load(path)
    except InputError as error:
        return str(error) if "\n" not in str(error) else ""
    return None


@given(keep=st.floats(0, 0.999), damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255))))
@settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_files_are_read_or_refused_and_never_crash(
    file: Path, keep: float, damage: list[tuple[float, int]]
) -> None:
    np.savez_compressed(file, x=IMAGES, y=LABELS)
    whole = file.read_bytes()
    data = bytearray(whole[: int(keep * len(whole))] if len(damage) < 2 else whole)
    for where, value in damage:
        if data:
            data[int(where * (len(data) - 1))] = value
    file.write_bytes(bytes(data))
    refusal = refused(file)
    assert refusal is None or "mine" in refusal


def test_size_is_for_folders(file: Path) -> None:
    np.savez(file, x=IMAGES, y=LABELS)
    with pytest.raises(InputError, match="size 8 is for folders"):
        tasks.get(str(file), size=8)


# The user's own data sets --------------------------------------------------------------------

X = torch.from_numpy(IMAGES).float()[:, None] / 255
Y = torch.from_numpy(LABELS)


def test_signature_is_read_off_the_data_and_validation_split_off() -> None:
    task = DataTask.from_datasets("mine", TensorDataset(X, Y), test=TensorDataset(X[:8], Y[:8]))
    assert task.signature == Signature((1, 6, 5), 4)
    assert sizes(task) == [32, 8, 8]
    assert torch.bincount(tensors(task.validation).labels).tolist() == [2] * 4
    image, label = tensors(task._test)[3]
    assert torch.equal(image, X[3])
    assert label == 3
    assert (
        DataTask.from_datasets("mine", TensorDataset(X, Y), TensorDataset(X, Y)).has_test is False
    )


def test_data_sets_can_stay_as_they_are() -> None:
    data = TensorDataset(X, Y)
    task = DataTask.from_datasets("mine", data, data, classes=tuple("abcd"), in_memory=False)
    assert task.train is data
    assert task.signature == Signature((1, 6, 5), 4)
    assert len(task.joined()) == 80  # type: ignore[arg-type]
    with pytest.raises(InputError, match="accepted: with validation and classes"):
        DataTask.from_datasets("mine", data, in_memory=False)


class Ragged(Dataset[Any]):
    def __len__(self) -> int:
        return 8

    def __getitem__(self, index: int) -> Any:
        return torch.zeros(1, 4 + index // 4, 4), index % 2


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter(())


WRONG = X.clone()
WRONG[4] = float("inf")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        (TensorDataset(X[:0], Y[:0]), "holds no images"),
        (TensorDataset(X), "item 0 of mine .* is a tuple"),
        (TensorDataset(X[:, 0], Y), r"image 0 of mine .* is \(6, 5\)"),
        (TensorDataset(X, Y * 0), r"has 1 class\(es\)"),
        (TensorDataset(X, Y - 1), "label -1 of image 0"),
        (TensorDataset(X, Y + 0.5), "label of item 0 of .* is 0.5"),
        (TensorDataset(X, Y / 0), "label of item 0 of .* is nan"),
        (TensorDataset(X, torch.stack([Y, Y], 1)), "label of item 0 of .* is a Tensor"),
        (TensorDataset(X, Y * 2), "class '1' of mine has 0"),
        (TensorDataset(WRONG, Y), "image 4 of mine .* holds NaN or infinity"),
        (TensorDataset(X[:4], Y[:4]), "at least 2, one a split"),
        (Ragged(), "accepted: one shape"),
        (Stream(), "accepted: a data set with a length"),
        ([1, 2], "item 0 of mine .* is a int"),
    ],
)
def test_bad_data_sets_are_refused(train: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DataTask.from_datasets("mine", train)
    with pytest.raises(InputError, match="differ in shape"):
        DataTask.from_datasets("m", TensorDataset(X, Y), test=TensorDataset(X[:, :, :3], Y))
    with pytest.raises(InputError, match="augmentation"):
        DataTask.from_datasets("m", TensorDataset(X, Y), augmentation="mixup")
