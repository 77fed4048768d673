"""Stratified splits, batches, and augmentation, against slow and obvious versions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transnas import InputError
from transnas.tasks import DataTask, FinalTest, Signature
from transnas.tasks._assemble import Part, assemble
from transnas.tasks._boxes import BoxSplit
from transnas.tasks._digest import digest_of
from transnas.tasks._masks import MaskSplit
from transnas.tasks._registry import Options
from transnas.tasks._resized import resized
from transnas.tasks._split import first_per_class, stratified
from transnas.tasks._subset import of_classes
from transnas.tasks._tensors import TensorSplit, augment, concatenate
from transnas.tasks._text import TextSplit

torch.set_num_threads(1)


@given(
    counts=st.lists(st.integers(3, 40), min_size=2, max_size=6),
    fractions=st.sampled_from([(0.8, 0.2), (0.6, 0.2, 0.2), (0.98, 0.01, 0.01)]),
    seed=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_parts_are_disjoint_complete_and_proportional(
    counts: list[int], fractions: tuple[float, ...], seed: int
) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    names = [str(i) for i in range(len(counts))]
    parts = stratified(labels, fractions, seed, names, "t")
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))
    for part, share in zip(parts, fractions, strict=True):
        for label, count in enumerate(counts):
            members = int((labels[part] == label).sum())
            assert members >= 1
            assert abs(members - share * count) <= len(fractions)
    again = stratified(labels, fractions, seed, names, "t")
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_a_class_too_small_to_split_is_named() -> None:
    with pytest.raises(
        InputError, match=r"class 'b' of birds has 2 image\(s\); accepted: at least 3"
    ):
        stratified(np.array([0, 0, 0, 1, 1]), (0.6, 0.2, 0.2), 0, ["a", "b"], "birds")


def test_first_per_class_keeps_order() -> None:
    labels = np.array([1, 0, 1, 1, 0, 2])
    assert first_per_class(labels, 2).tolist() == [0, 1, 2, 4, 5]
    assert first_per_class(labels, None).tolist() == list(range(6))


def split(count: int = 6, side: int = 8, channels: int = 2) -> TensorSplit:
    images = torch.randint(256, (count, channels, side, side), dtype=torch.uint8)
    mean, std = torch.tensor([0.3, 0.6])[:, None, None], torch.tensor([0.5, 0.2])[:, None, None]
    return TensorSplit(images, torch.arange(count), 1 / 255, mean[:channels], std[:channels])


def test_items_and_batches_are_normalised_alike() -> None:
    data = split()
    images, labels = data.batch(torch.tensor([3, 1]))
    assert labels.tolist() == [3, 1]
    for row, index in enumerate((3, 1)):
        image, label = data[index]
        by_hand = (data.images[index].numpy() / 255 - data.mean.numpy()) / data.std.numpy()
        assert np.allclose(image.numpy(), by_hand, atol=1e-6)
        assert torch.allclose(images[row], image)
        assert label == index
    with pytest.raises(IndexError):
        data[6]


@pytest.mark.parametrize("shape", [(40, 1, 8, 8), (40, 3, 5, 17), (40, 2, 32, 32)])
@pytest.mark.parametrize("kind", ["shift", "natural"])
def test_augmented_images_are_moved_copies(kind: str, shape: tuple[int, ...]) -> None:
    images = torch.randint(1, 256, shape, dtype=torch.uint8)
    out = augment(images, kind, torch.Generator().manual_seed(0))
    assert out.shape == images.shape
    assert out.dtype == images.dtype
    reach = [max(1, side // 8) for side in shape[2:]]
    mirrored = 0
    for before, after in zip(images, out, strict=True):
        candidates = {
            (flip, dy, dx): moved(before, dy, dx, flip)
            for flip in ((False, True) if kind == "natural" else (False,))
            for dy in range(-reach[0], reach[0] + 1)
            for dx in range(-reach[1], reach[1] + 1)
        }
        found = [key for key, image in candidates.items() if torch.equal(image, after)]
        assert found
        mirrored += found[0][0]
    assert 8 <= mirrored <= 32 if kind == "natural" else mirrored == 0
    again = augment(images, kind, torch.Generator().manual_seed(0))
    assert torch.equal(out, again)


def moved(image: torch.Tensor, dy: int, dx: int, flip: bool) -> torch.Tensor:
    out = image.roll((-dy, -dx), (1, 2)).clone()
    height, width = image.shape[1:]
    rows, columns = torch.arange(height) + dy, torch.arange(width) + dx
    out[:, (rows < 0) | (rows >= height)] = 0
    out[:, :, (columns < 0) | (columns >= width)] = 0
    return out.flip(2) if flip else out


def test_no_augmentation_is_the_same_tensor_and_others_are_unknown() -> None:
    images = torch.zeros(2, 1, 4, 4)
    assert augment(images, "none") is images
    with pytest.raises(InputError, match="did you mean 'natural'"):
        augment(images, "naturel")


def test_concatenation_stays_in_memory_where_it_can() -> None:
    first, second = split(), split()
    both = concatenate(first, second)
    assert isinstance(both, TensorSplit)
    assert len(both) == 12
    assert torch.equal(both[7][0], second[1][0])
    other = TensorSplit(second.images, second.labels, 1.0, second.mean, second.std)
    mixed = concatenate(first, other)
    assert not isinstance(mixed, TensorSplit)
    assert torch.equal(mixed[7][0], other[1][0])


def test_a_class_is_drawn_by_its_own_images_and_the_seed() -> None:
    def halves(labels: list[int], seed: int) -> list[list[int]]:
        parts = stratified(np.array(labels), (0.5, 0.5), seed, ["a", "b", "c"], "t")
        return [part.tolist() for part in parts]

    few, many = [0] * 20 + [1] * 20 + [2] * 20, [0] * 20 + [1] * 20 + [2] * 90
    (one, _), (two, _) = halves(few, 0), halves(many, 0)
    assert [i for i in one if i < 40] == [i for i in two if i < 40]
    assert one == sorted(one) != halves(few, 1)[0]
    # Classes of one size are drawn apart.
    assert [i for i in one if i < 20] != [i - 20 for i in one if 20 <= i < 40]


@pytest.mark.parametrize("field", ["scale", "mean", "std", "dtype"])
def test_splits_that_are_normalised_in_other_ways_stay_apart(field: str) -> None:
    first, second = split(), split()
    changes: dict[str, dict[str, Any]] = {
        "scale": {"scale": 1.0},
        "mean": {"mean": first.mean + 1},
        "std": {"std": first.std + 1},
        "dtype": {"images": second.images.float()},
    }
    assert first.joined(replace(second, **changes[field])) is None
    joined = first.joined(second)
    assert joined is not None
    assert torch.equal(joined.images, torch.cat([first.images, second.images]))


def test_a_digest_tells_tasks_apart_by_what_can_be_seen_of_them() -> None:
    data, more = split(count=300), split(count=40)
    task = DataTask("t", Signature((2, 8, 8), 2), train=data, validation=more, classes=("a", "b"))
    labels = data.labels.clone()
    labels[7] += 1

    def black(count: int) -> MaskSplit:
        images = torch.zeros(count, 3, 2, 2, dtype=torch.uint8)
        return MaskSplit(images, images[:, 0], data.mean, data.std)

    boxes = BoxSplit(
        data.images[:2], (torch.zeros(1, 4), torch.ones(1, 4)), (labels[:1], labels[:1]),
        data.mean, data.std,
    )  # fmt: skip
    others = [
        replace(task, classes=("a", "c")),
        replace(task, train=more, validation=data),
        replace(task, train=replace(data, labels=labels)),
        replace(task, train=replace(data, images=255 - data.images)),
        replace(task, train=replace(data, images=data.images.float())),
        replace(task, train=replace(data, images=data.images.view(300, 2, 4, 16))),
        replace(task, validation=replace(more, images=255 - more.images)),
        replace(task, train=boxes),
        replace(task, train=replace(boxes, boxes=boxes.boxes[::-1])),
        replace(task, train=replace(boxes, labels=(labels[:1], labels[1:2]))),
        *(replace(task, train=black(count)) for count in (300, 400)),  # more than are read
        replace(task, train=TextSplit(torch.arange(9))),
        replace(task, train=TextSplit(torch.arange(9).flip(0))),
    ]
    assert len({digest_of(t) for t in (task, *others)}) == 1 + len(others)
    # The test split is not looked at, nor are the moments, which machines round.
    same = replace(task, _test=more, train=replace(data, mean=data.mean + 1e-7))
    assert digest_of(same) == digest_of(task)


def test_some_classes_of_a_task_are_labelled_in_their_order() -> None:
    images = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 1, 2, 2)
    labels = torch.arange(10) % 5
    zero, one = torch.zeros(1, 1, 1), torch.ones(1, 1, 1)
    whole = TensorSplit(images, labels, 1.0, zero, one)
    task = DataTask(
        "t", Signature((1, 2, 2), 5), train=whole, validation=whole, classes=tuple("abcde"),
        _test=whole, final_tests=[FinalTest("t", {}, "")],
    )  # fmt: skip
    some = of_classes(task, [3, 0])
    assert (some.name, some.classes, some.signature.outputs) == ("t[3,0]", ("d", "a"), 2)
    assert some.final_tests == []
    for part in (some.train, some.validation, some._test):
        assert isinstance(part, TensorSplit)
        assert part.images[:, 0, 0, 0].tolist() == [0, 3, 5, 8]
        assert part.labels.tolist() == [1, 0, 1, 0]


def test_resized_images_are_means_over_areas_of_normalised_pixels() -> None:
    data, test = split(side=8), split(side=8)
    task = DataTask(
        "t", Signature((2, 8, 8), 6), train=data, validation=data, classes=tuple("abcdef"),
        _test=test,
    )  # fmt: skip
    small = resized(task, 4)
    assert small.signature.input_shape == (2, 4, 4)
    for part, source in ((small.train, data), (small._test, test)):
        assert isinstance(part, TensorSplit)
        inputs = source.batch(torch.arange(6))[0]
        means = inputs.reshape(6, 2, 4, 2, 4, 2).mean(dim=(3, 5))
        torch.testing.assert_close(part.batch(torch.arange(6))[0], means)
        assert torch.equal(part.labels, source.labels)
    grey = resized(task, 8, 3)
    assert isinstance(grey.train, TensorSplit)
    inputs = data.batch(torch.arange(6))[0]
    torch.testing.assert_close(
        grey.train.images, inputs.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    )
    # A linear ramp is enlarged to a ramp, but for its ends.
    ramp = TensorSplit(torch.arange(4.0).expand(1, 1, 4, 4), torch.zeros(1).long(), 1.0,
                       torch.zeros(1, 1, 1), torch.ones(1, 1, 1))  # fmt: skip
    wide = resized(replace(task, train=ramp, validation=ramp, _test=None,
                           signature=Signature((1, 4, 4), 2)), 8)  # fmt: skip
    assert isinstance(wide.train, TensorSplit)
    torch.testing.assert_close(wide.train.images[0, 0, 3, 1:-1], torch.arange(6) / 2 + 0.25)


def test_inputs_are_normalised_by_the_training_images_alone() -> None:
    rng = np.random.default_rng(0)
    train = rng.integers(0, 100, (12, 2, 3, 4)).astype(np.uint8)
    held_out = rng.integers(100, 250, (6, 2, 3, 4)).astype(np.uint8)
    train[:, 1] = 7  # a channel that does not differ is not scaled
    labels = np.arange(12) % 2
    parts = {
        "train": Part(train, labels),
        "validation": Part(held_out, labels[:6]),
        "test": Part(held_out + 1, labels[:6]),
    }
    task = assemble("t", parts, ("a", "b"), Options(), "none")
    mean, std = train[:, 0].mean() / 255, train[:, 0].std() / 255
    for split, images in ((task.train, train), (task.validation, held_out),
                          (task._test, held_out + 1)):  # fmt: skip
        assert isinstance(split, TensorSplit)
        found = split.batch(torch.arange(len(images)))[0].numpy()
        assert np.allclose(found[:, 0], (images[:, 0] / 255 - mean) / std, atol=1e-4)
        assert np.allclose(found[:, 1], (images[:, 1] - 7.0) / 255, atol=1e-4)
    floats = assemble("t", {"all": Part(train / 255.0, labels)}, ("a", "b"), Options(), "shift")
    assert floats.preprocessing["scale"] == 1.0
    assert task.preprocessing["scale"] == 1 / 255
