"""Folders of images: layouts, sizes, colours, and everything that can be wrong with a file."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from transnas import InputError, tasks
from transnas.tasks import DataTask
from transnas.tasks._tensors import TensorSplit

torch.set_num_threads(1)


def paint(file: Path, color: int | tuple[int, ...], size: tuple[int, int] = (10, 10)) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    mode = "L" if isinstance(color, int) else "RGB" if len(color) == 3 else "RGBA"
    Image.new(mode, size, color).save(file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of ten grey images each, dark and bright."""
    root = tmp_path / "shades"
    for i in range(10):
        paint(root / "dark" / f"{i}.png", i)
        paint(root / "light" / f"{i}.png", 200 + i)
    return root


def load(path: Path, **options: object) -> DataTask:
    task = tasks.get(str(path), **options)
    assert isinstance(task, DataTask)
    return task


def tensors(dataset: object) -> TensorSplit:
    assert isinstance(dataset, TensorSplit)
    return dataset


def test_one_folder_is_split_and_labels_belong_to_images(folder: Path) -> None:
    task = load(folder)
    assert task.name == "shades"
    assert task.classes == ("dark", "light")
    assert task.signature.input_shape == (1, 10, 10)
    assert task.augmentation == "shift"
    splits = [tensors(s) for s in (task.train, task.validation, task._test)]
    assert [len(s) for s in splits] == [12, 4, 4]
    for split in splits:
        assert torch.equal(split.images[:, 0, 0, 0] >= 200, split.labels == 1)
    seen = torch.cat([s.images[:, 0, 0, 0] for s in splits])
    assert len(seen.unique()) == 20
    assert torch.equal(tensors(load(folder).train).images, splits[0].images)
    assert task.preprocessing["size"] == (10, 10)
    assert task.preprocessing["mode"] == "L"


@pytest.mark.parametrize("validation", ["val", "valid", "Validation", None])
def test_split_folders_are_kept(folder: Path, tmp_path: Path, validation: str | None) -> None:
    root = tmp_path / "splits"
    parts = {"train": 1, "test": 3} | ({validation: 2} if validation else {})
    for word, shade in parts.items():
        for i in range(5):
            paint(root / word / "a" / f"{i}.png", shade)
            paint(root / word / "b" / "deeper" / f"{i}.png", 100 + shade)
    task = load(root)
    train, held_out = tensors(task.train), tensors(task.validation)
    assert set(tensors(task._test).images.unique().tolist()) == {3, 103}
    expected = (10, {2, 102}) if validation else (8, {1, 101})
    assert (len(train), set(held_out.images.unique().tolist())) == expected


def test_nothing_is_split_off_where_nothing_is_held_out(folder: Path, tmp_path: Path) -> None:
    task = load(folder, held_out=0)
    assert (len(tensors(task.train)), len(tensors(task.validation))) == (20, 0)
    assert not task.has_test
    paint(tmp_path / "lone" / "a" / "0.png", 1)
    paint(tmp_path / "lone" / "b" / "0.png", 2)
    assert len(tensors(load(tmp_path / "lone", held_out=0).train)) == 2
    whole = load(folder, held_out=0.3)
    assert [len(tensors(s)) for s in (whole.train, whole.validation, whole._test)] == [8, 6, 6]
    with pytest.raises(InputError, match=r"held_out 0\.5 is not accepted"):
        load(folder, held_out=0.5)


def test_sizes_and_colours_are_brought_together(folder: Path) -> None:
    paint(folder / "dark" / "wide.jpg", (10, 20, 30), (40, 20))
    paint(folder / "light" / "clear.png", (200, 210, 220, 128), (7, 9))
    Image.new("P", (10, 10), 3).save(folder / "light" / "palette.gif")
    Image.fromarray(np.full((12, 12), 60_000, np.uint16)).save(folder / "light" / "deep.png")
    task = load(folder)
    assert task.signature.input_shape == (3, 32, 32)
    assert task.augmentation == "natural"
    assert load(folder, size=16).signature.input_shape == (3, 16, 16)
    images = torch.cat([tensors(s).images for s in (task.train, task.validation, task._test)])
    assert (images == int(60_000 / 65_535 * 255)).all(dim=(1, 2, 3)).any()


def test_a_wide_image_is_cut_in_the_middle(tmp_path: Path) -> None:
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 255
    for name in "ab":
        for i in range(3):
            (tmp_path / "t" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(tmp_path / "t" / name / f"{i}.png")
    assert (tensors(load(tmp_path / "t", size=10).train).images == 255).all()


def test_hidden_and_other_files_are_left_out(folder: Path) -> None:
    (folder / "dark" / "notes.txt").write_text("x")
    (folder / "dark" / ".hidden.png").write_bytes(b"x")
    (folder / ".cache").mkdir()
    (folder / "readme.md").write_text("x")
    assert load(folder).classes == ("dark", "light")


def empty(root: Path) -> None:
    for file in root.rglob("*.png"):
        file.unlink()
    for sub in root.iterdir():
        sub.rmdir()


def one_class(root: Path) -> None:
    for file in (root / "dark").iterdir():
        file.unlink()
    (root / "dark").rmdir()


def two_images(root: Path) -> None:
    for file in sorted((root / "dark").iterdir())[2:]:
        file.unlink()


def no_images(root: Path) -> None:
    for file in (root / "dark").iterdir():
        file.rename(file.with_suffix(".txt"))


def text_as_image(root: Path) -> None:
    (root / "light" / "4.png").write_text("not an image")


def nothing_in_it(root: Path) -> None:
    (root / "light" / "4.png").write_bytes(b"")


def cut_jpeg(root: Path) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(stream, "JPEG")
    (root / "light" / "cut.jpg").write_bytes(stream.getvalue()[: len(stream.getvalue()) // 2])


def train_and_classes(root: Path) -> None:
    paint(root / "train" / "a" / "0.png", 1)


def class_only_in_test(root: Path) -> None:
    for file in root.rglob("*.png"):
        target = root / "train" / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)
    for name in ("dark", "light"):
        (root / name).rmdir()
    paint(root / "test" / "grey" / "0.png", 100)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty, "holds no folders"),
        (one_class, r"has 1 class\(es\)"),
        (two_images, r"class 'dark' of .* has 2 image\(s\); accepted: at least 3"),
        (no_images, "class folder '.*dark' holds no images"),
        (text_as_image, "image '.*4.png' is not readable"),
        (nothing_in_it, r"image '.*4.png' is not readable \(cannot identify image file\);"),
        (cut_jpeg, "image '.*cut.jpg' is not readable .*truncated"),
        (train_and_classes, "holds dark, light, train; accepted"),
        (class_only_in_test, "class 'grey' is in the test folder"),
    ],
)
def test_bad_folders_are_refused_in_one_sentence(
    folder: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_missing_folder_and_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load(tmp_path / "nothing")
    (tmp_path / "data.csv").write_text("1,2")
    with pytest.raises(InputError, match="accepted: a folder of images"):
        load(tmp_path / "data.csv")


def refused(path: Path) -> str | None:
    """Return the sentence that refuses `path`; None if it is read."""
    try:
        load(path)
    except InputError as error:
        return str(error) if "\n" not in str(error) else ""
    return None


@given(
    suffix=st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]),
    keep=st.floats(0, 1),
    damage=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
)
@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damaged_images_are_read_or_refused_and_never_crash(
    folder: Path, suffix: str, keep: float, damage: list[tuple[float, int]]
) -> None:
    stream = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (24, 24), dtype=np.uint8)
    Image.fromarray(noise).save(stream, suffix)
    data = bytearray(stream.getvalue()[: int(keep * len(stream.getvalue()))])
    for where, value in damage:
        if data:
            data[int(where * (len(data) - 1))] = value
    file = folder / "dark" / f"z.{suffix.lower()}"
    file.write_bytes(bytes(data))
    refusal = refused(folder)
    file.unlink()
    assert refusal is None or str(file) in refusal
