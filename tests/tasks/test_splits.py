"""Stratified splits, batches, and augmentation, against slow and obvious versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transnas import InputError
from transnas.tasks._split import first_per_class, stratified
from transnas.tasks._tensors import TensorSplit, augment, concatenate

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
