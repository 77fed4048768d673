"""Built-in tasks: what they hold, that splits are fixed, and that options are checked."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from transnas import InputError, tasks
from transnas.tasks import DataTask, Signature, TableTask
from transnas.tasks._tensors import TensorSplit

torch.set_num_threads(1)


def data(name: str, **options: object) -> DataTask:
    task = tasks.get(name, **options)
    assert isinstance(task, DataTask)
    return task


def tensors(dataset: object) -> TensorSplit:
    assert isinstance(dataset, TensorSplit)
    return dataset


def test_digits_are_all_there_once_and_stratified() -> None:
    task = data("digits")
    splits = [tensors(s) for s in (task.train, task.validation, task._test)]
    assert task.signature == Signature((1, 8, 8), 10)
    assert [len(s) for s in splits] == [1078, 360, 359]
    pixels, labels = load_digits(return_X_y=True)
    stored = torch.cat([s.images for s in splits]).reshape(-1, 64).numpy()
    assert np.array_equal(np.sort(stored.sum(1)), np.sort(pixels.sum(1)))
    for part, share in zip(splits, (0.6, 0.2, 0.2), strict=True):
        counts = torch.bincount(part.labels).numpy()
        assert np.abs(counts - share * np.bincount(labels)).max() <= 1
    images = torch.stack([splits[0][i][0] for i in range(len(splits[0]))])
    assert abs(float(images.mean())) < 1e-4
    assert float(images.std()) == pytest.approx(1, abs=1e-3)


def test_splits_depend_on_the_seed_only() -> None:
    first, second, other = data("digits"), data("digits"), data("digits", seed=1)
    assert torch.equal(tensors(first.train).images, tensors(second.train).images)
    assert not torch.equal(tensors(first.train).images, tensors(other.train).images)


def test_limit_takes_images_of_each_class_and_leaves_the_test_alone() -> None:
    task = data("digits", limit=5, augmentation="none")
    assert torch.bincount(tensors(task.train).labels).tolist() == [5] * 10
    assert torch.bincount(tensors(task.validation).labels).tolist() == [5] * 10
    assert len(tensors(task._test)) == 359
    assert task.augmentation == "none"


def test_final_test_is_recorded_and_training_data_are_joined() -> None:
    task = data("digits")
    assert len(tensors(task.joined())) == 1438
    assert task.has_test
    final = task.final_test("a cell", lambda split: {"test_accuracy": float(len(tensors(split)))})
    assert final.metrics == {"test_accuracy": 359.0}
    assert task.final_tests == [final]
    assert final.at.endswith("+00:00")


def test_tables_are_tasks_of_their_space() -> None:
    task = tasks.get("nasbench201/imagenet16-120")
    assert isinstance(task, TableTask)
    assert (task.space, task.table, task.column) == ("nasbench201", "nasbench201", "imagenet16-120")
    assert task.signature == Signature((3, 16, 16), 120)
    with pytest.raises(InputError, match="is a table"):
        tasks.get("nasbench201/cifar10", limit=3)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("digit", {}, "did you mean 'digits'"),
        ("nasbench201/cifar", {}, "did you mean 'nasbench201/cifar10"),
        ("/no/such/folder", {}, "does not exist"),
        ("./photos.npz", {}, "does not exist"),
        ("digits", {"limits": 3}, "task option 'limits' is unknown; did you mean 'limit'"),
        ("digits", {"limit": 0}, "limit 0 is not accepted"),
        ("digits", {"seed": -1}, "seed -1 is not accepted"),
        ("digits", {"augmentation": "mixup"}, "augmentation 'mixup' is unknown"),
    ],
)
def test_bad_names_and_options_are_refused(
    name: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        tasks.get(name, **options)


PROVIDED = [
    # name, file, input shape, classes, train + validation, test
    ("usps", "usps_16x16.npz", (1, 16, 16), 10, 7291, 2007),
    ("mnist", "mnist_28x28_5000.npz", (1, 28, 28), 10, 4000, 1000),
    ("notmnist", "notmnist_28x28_5000.npz", (1, 28, 28), 10, 4000, 1000),
    ("fashion-mnist", "fashion_mnist_28x28_5000.npz", (1, 28, 28), 10, 4000, 1000),
    ("gtsrb", "gtsrb_32.npz", (3, 32, 32), 43, 2614, 1290),
    ("dtd10", "dtd10_64x64.npz", (3, 64, 64), 10, 900, 300),
    ("omniglot", "omniglot_28x28.npz", (1, 28, 28), 1623, 25968, 6492),
    pytest.param(
        "cifar10", "cifar10_jpeg90.npz", (3, 32, 32), 10, 50000, 10000, marks=pytest.mark.slow
    ),
    pytest.param(
        "cifar100", "cifar100_jpeg90.npz", (3, 32, 32), 100, 50000, 10000, marks=pytest.mark.slow
    ),
    pytest.param(
        "mini-imagenet", "mini_imagenet_84_120pc.npz", (3, 84, 84), 100, 9600, 2400,
        marks=pytest.mark.slow,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("name", "file", "shape", "classes", "train", "test"), PROVIDED)
def test_provided_sets_are_complete(
    name: str,
    file: str,
    shape: tuple[int, ...],
    classes: int,
    train: int,
    test: int,
    data_file: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRANSNAS_DATA", str(data_file(f"images/{file}").parents[1]))
    task = data(name)
    assert task.signature == Signature(shape, classes)
    assert len(task.classes) == len(set(task.classes)) == classes
    assert len(tensors(task.train)) + len(tensors(task.validation)) == train
    assert len(tensors(task._test)) == test
    assert len(torch.bincount(tensors(task.train).labels, minlength=classes)) == classes
    image, label = task.train[0]
    assert image.shape == shape
    assert 0 <= label < classes


def test_a_linear_rule_learns_the_provided_labels(
    data_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Nearest class mean on pixels: labels and images belong together (chance 2.3 and 10 %).
    monkeypatch.setenv("TRANSNAS_DATA", str(data_file("images/usps_16x16.npz").parents[1]))
    for name, least in (("gtsrb", 0.1), ("usps", 0.75)):
        task = data(name)
        train, held_out = tensors(task.train), tensors(task.validation)
        x, y = train.batch(torch.arange(len(train)))
        means = torch.stack([x[y == c].mean(0) for c in range(task.signature.outputs)]).flatten(1)
        a, b = held_out.batch(torch.arange(len(held_out)))
        right = (torch.cdist(a.flatten(1), means).argmin(1) == b).float().mean()
        assert float(right) > least


def mosaics(path: Path, blob: bytes | None = None) -> None:
    """Write a file like the provided CIFAR ones: two classes, 12 and 6 images of one colour."""
    jpegs = []
    for color, rows in (((250, 0, 0), 2), ((0, 0, 250), 2), ((250, 0, 0), 1), ((0, 0, 250), 1)):
        stream = io.BytesIO()
        Image.new("RGB", (320, 32 * rows), color).save(stream, "JPEG", quality=95)
        jpegs.append(stream.getvalue())
    offsets = np.cumsum([0, *map(len, jpegs)])
    np.savez(
        path,
        jpeg_blob=np.frombuffer(blob or b"".join(jpegs), np.uint8),
        offsets=offsets,
        mosaic_n=np.array([12, 12, 6, 6]),
        mosaic_label=np.array([0, 1, 0, 1], np.uint8),
        mosaic_is_test=np.array([False, False, True, True]),
        class_names=np.array(["red", "blue"]),
    )


def test_mosaics_are_cut_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.setenv("TRANSNAS_DATA", str(tmp_path))
    assert "cifar10" not in tasks.names()
    mosaics(tmp_path / "images" / "cifar10_jpeg90.npz")
    assert "cifar10" in tasks.names()
    task = data("cifar10")
    assert task.classes == ("red", "blue")
    test = tensors(task._test)
    assert len(test) == 12
    reddish = test.images[:, 0].float().mean((1, 2)) > 200
    assert torch.equal(reddish, test.labels == 0)


def test_damaged_provided_files_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images").mkdir()
    monkeypatch.setenv("TRANSNAS_DATA", str(tmp_path))
    mosaics(tmp_path / "images" / "cifar10_jpeg90.npz", blob=b"\x00" * 400)
    with pytest.raises(InputError, match=r"mosaic 0 of .* is not readable"):
        data("cifar10")
    np.savez(tmp_path / "images" / "usps_16x16.npz", images=np.zeros((3, 4, 4)))
    with pytest.raises(InputError, match="lacks or misshapes 'label'"):
        data("usps")
    (tmp_path / "images" / "gtsrb_32.npz").write_bytes(b"PK\x03\x04 half a download")
    with pytest.raises(InputError, match=r"gtsrb_32\.npz' is not readable"):
        data("gtsrb")


def test_torchvision_files_are_read_where_present(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRANSNAS_DATA", str(tmp_path))
    raw = tmp_path / "torchvision" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    assert "torchvision/mnist" in tasks.names()
    with pytest.raises(InputError, match="not readable in"):
        data("torchvision/mnist")
    rng = np.random.default_rng(0)
    for word, count in (("train", 60), ("t10k", 20)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        head = struct.pack(">IIII", 2051, count, 28, 28)
        (raw / f"{word}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        head = struct.pack(">II", 2049, count)
        (raw / f"{word}-labels-idx1-ubyte").write_bytes(head + labels.tobytes())
    task = data("torchvision/mnist")
    assert task.signature == Signature((1, 28, 28), 10)
    assert np.array_equal(tensors(task._test).images[:, 0].numpy(), images)
    assert len(tensors(task.train)) + len(tensors(task.validation)) == 60
