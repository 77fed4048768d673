"""Episodes: what is drawn, that it is drawn evenly, and that splits never mix."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from transnas import InputError
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeSource, EpisodeSpec


def toy(classes: int = 10, images: int = 8, **options: object) -> EpisodeSource:
    """Return a source whose image k of class c is filled with the number 10 c + k."""
    labels = torch.arange(classes).repeat_interleave(images)
    values = (10 * labels + torch.arange(images).repeat(classes)).to(torch.uint8)
    pictures = values[:, None, None, None].expand(-1, 1, 4, 4).contiguous()
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    splits = {"train": tuple(range(classes - 4)), "test": tuple(range(classes - 4, classes))}
    names = tuple(f"c{i}" for i in range(classes))
    return EpisodeSource("toy", pictures[order], labels[order], names, splits, **options)  # type: ignore[arg-type]


def test_an_episode_has_its_classes_and_disjoint_images() -> None:
    source, spec = toy(), EpisodeSpec(3, 2, 4)
    batch = source.batch("train", spec, 0, 200)
    assert batch.xs.shape == (200, 6, 1, 4, 4)
    assert batch.xq.shape == (200, 12, 1, 4, 4)
    for b in range(200):
        images, classes = batch.images[b], batch.classes[b]
        assert len(images.unique()) == len(images), "support and query share an image"
        assert len(classes.unique()) == 3
        assert set(classes.tolist()) <= set(source.splits["train"])
        labels = torch.cat([batch.ys[b], batch.yq[b]])
        assert torch.equal(source.labels[images], classes[labels])
        assert torch.bincount(batch.ys[b]).tolist() == [2, 2, 2]
        assert torch.bincount(batch.yq[b]).tolist() == [4, 4, 4]
    inputs = source.normalise(source.images[batch.images])
    assert torch.equal(inputs, torch.cat([batch.xs, batch.xq], dim=1))


def test_classes_labels_and_images_are_uniform() -> None:
    source, spec, count = toy(), EpisodeSpec(2, 1, 1), 10_000
    batch = source.batch("train", spec, 0, count)
    for label in (0, 1):
        seen = np.bincount(batch.classes[:, label].numpy(), minlength=6)
        expected = count / 6
        assert ((seen - expected) ** 2 / expected).sum() < 20.5, "chi-squared, 5 df, 0.1 %"
    seen = np.bincount(batch.images.numpy().ravel(), minlength=80)
    own = seen[np.isin(source.labels.numpy(), source.splits["train"])]
    expected = own.sum() / len(own)
    assert ((own - expected) ** 2 / expected).sum() < 82.7, "chi-squared, 47 df, 0.1 %"
    first_label = batch.ys[:, 0].double().mean()
    assert abs(float(first_label) - 0.5) < 3.3 * 0.5 / count**0.5, "order tells the label"


def test_an_episode_depends_on_its_number_alone() -> None:
    source, spec = toy(), EpisodeSpec(3, 1, 2)
    whole = source.batch("test", spec, 5, 20)
    part = source.batch("test", spec, 12, 3)
    assert torch.equal(whole.xs[7:10], part.xs)
    assert torch.equal(whole[7:10].yq, part.yq)
    assert whole[7:10].first == part.first == 12
    for other in (
        toy(seed=1).batch("test", spec, 5, 20),
        source.batch("test", EpisodeSpec(3, 1, 3), 5, 20),
        source.batch("test", spec, 25, 20),
    ):
        assert not torch.equal(whole.classes, other.classes)


def test_another_process_draws_the_same_episodes() -> None:
    code = (
        "from transnas.tasks.episode_sources import get_source as g;"
        "from transnas.tasks.episodes import EpisodeSpec as S;"
        "print(g('digits').batch('test', S(3, 2, 3), 40, 2).images.tolist())"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = get_source("digits").batch("test", EpisodeSpec(3, 2, 3), 40, 2).images.tolist()
    assert told.stdout.strip() == str(here)


def test_rotation_turns_whole_classes_and_only_in_its_splits() -> None:
    source = get_source("digits")
    turned = EpisodeSource(
        source.name, source.images, source.labels, source.classes, source.splits, 0, ("train",),
        source.scale,
    )  # fmt: skip
    spec = EpisodeSpec(3, 2, 2)
    batch = turned.batch("train", spec, 0, 60)
    quarters = []
    for b in range(60):
        for label in range(3):
            own = batch.images[b, :6][batch.ys[b] == label]
            plain = turned.normalise(turned.images[own])
            found = batch.xs[b][batch.ys[b] == label]
            same = [k for k in range(4) if torch.equal(torch.rot90(plain, k, (2, 3)), found)]
            quarters.append(same[0])
    assert set(quarters) == {0, 1, 2, 3}
    straight = turned.batch("test", spec, 0, 5)
    pictures = turned.normalise(turned.images[straight.images[:, :6]])
    assert torch.equal(straight.xs, pictures)


def test_small_classes_give_each_of_their_images_and_no_others() -> None:
    # Classes of 2 and 9 images: what a row of the table lacks is never drawn.
    labels = torch.tensor([0] * 2 + [1] * 9)
    images = torch.zeros(11, 1, 2, 2, dtype=torch.uint8)
    source = EpisodeSource("uneven", images, labels, ("a", "b"), {"train": (0, 1)})
    batch = source.batch("train", EpisodeSpec(2, 1, 1), 0, 300)
    own = torch.gather(batch.classes, 1, torch.cat([batch.ys, batch.yq], dim=1))
    assert torch.equal(source.labels[batch.images], own)
    assert batch.images.unique().tolist() == list(range(11))


def test_inputs_are_normalised_by_the_training_classes() -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 200, (40, 2, 3, 3), generator=generator, dtype=torch.uint8)
    images[20:] //= 4  # the classes of the test are darker
    images[:, 1] //= 2
    labels, splits = torch.arange(40) // 10, {"train": (0, 1), "test": (2, 3)}
    source = EpisodeSource("two", images, labels, tuple("abcd"), splits, scale=100.0)
    train = images[:20].double() / 100
    mean, std = (found.flatten() for found in source.moments)
    torch.testing.assert_close(mean.double(), train.mean(dim=(0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(std.double(), train.std(dim=(0, 2, 3)), rtol=1e-5, atol=1e-6)
    whole = source.normalise(images)
    expected = (images.float() / 100 - source.moments[0]) / source.moments[1]
    torch.testing.assert_close(whole, expected)
    for half in source.halves("test"):  # which has no training classes
        assert torch.equal(torch.stack(half.moments), torch.stack(source.moments))
    black = replace(source, images=torch.zeros_like(images))
    assert not black.normalise(black.images).any()


def test_halves_are_drawn_by_the_seed() -> None:
    def first(seed: int) -> list[int]:
        half, _ = toy(seed=seed).halves("train")
        return sorted(half.images[:, 0, 0, 0].tolist())

    assert first(0) == first(0) != first(1)
    # The order in the source does not decide: not every class gives its first images.
    assert first(0) != [10 * c + k for c in range(6) for k in range(4)]


def test_splits_of_the_same_classes_have_episodes_of_their_own() -> None:
    spec, source = EpisodeSpec(2, 1, 1), toy()
    renamed = replace(source, splits={"test": source.splits["train"]})
    one, two = (s.batch(n, spec, 0, 50) for s, n in ((source, "train"), (renamed, "test")))
    assert not torch.equal(one.classes, two.classes)
    # So have episodes of every size, from the first one on.
    sizes = [EpisodeSpec(5, 1, 1), EpisodeSpec(5, 1, 2), EpisodeSpec(5, 2, 1)]
    many = toy(classes=20)
    first = [tuple(many.batch("train", s, 0, 1).classes[0].tolist()) for s in sizes]
    assert len(set(first)) == 3


def test_a_digest_tells_sources_apart_by_all_that_episodes_depend_on() -> None:
    source = toy()
    images, labels = source.images.clone(), source.labels.clone()
    images[3, 0, 1, 1] += 1
    labels[:2] = labels[:2].flip(0)
    assert labels[0] != labels[1]
    others = [
        replace(source, images=images),
        replace(source, labels=labels),
        replace(source, images=source.images.view(-1, 1, 2, 8)),
        replace(source, scale=16.0),
        replace(source, rotated=("train",)),
        replace(source, splits={"train": source.splits["train"]}),
        replace(source, classes=(*source.classes, "one more")),
    ]
    assert len({s.digest for s in (source, *others)}) == 1 + len(others)
    same = replace(source, splits=dict(reversed(source.splits.items())), seed=7)
    assert same.digest == source.digest


def test_halves_share_classes_and_no_image() -> None:
    source = toy()
    first, second = source.halves("train")
    values = [set(half.images[:, 0, 0, 0].tolist()) for half in (first, second)]
    assert not values[0] & values[1]
    assert len(values[0] | values[1]) == 48
    for half in (first, second):
        assert half.splits == {"train": source.splits["train"]}
        assert torch.bincount(half.labels, minlength=6).tolist()[:6] == [4] * 6


def test_episodes_of_the_halves_are_independent() -> None:
    spec, count = EpisodeSpec(2, 1, 1), 600
    halves = toy().halves("train")
    chosen = [half.batch("train", spec, 0, count).classes.sort(dim=1).values for half in halves]
    same = float((chosen[0] == chosen[1]).all(dim=1).float().mean())
    assert same == pytest.approx(1 / 15, abs=0.04)  # of 15 pairs of six classes


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (
            EpisodeSpec(7, 1, 1),
            "accepted: a way from 2 to 6, or 7 or more classes in this split",
        ),
        (EpisodeSpec(2, 5, 4), r"shot 5 \+ query 4 is more than the 8 images of class 'c0'"),
    ],
)
def test_too_few_classes_or_images(spec: EpisodeSpec, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        toy().batch("train", spec, 0, 1)


def test_unusable_sources_and_specs() -> None:
    with pytest.raises(InputError, match="way 1 is not accepted; accepted"):
        EpisodeSpec(way=1)
    with pytest.raises(InputError, match="split of 'toy' 'dev' is unknown"):
        toy().batch("dev", EpisodeSpec(2, 1, 1), 0, 1)
    source = toy()
    overlapping = {"train": (0, 1, 2), "test": (2, 3)}
    with pytest.raises(InputError, match="class 'c2' is in the splits train and test"):
        EpisodeSource("toy", source.images, source.labels, source.classes, overlapping)
    with pytest.raises(InputError, match=r"labels 0\.\.9 of 'toy' do not fit .*: 0\.\.8"):
        replace(source, classes=source.classes[:-1])
    with pytest.raises(InputError, match="class 10 of split 'test' of 'toy' is out of range"):
        replace(source, splits={"train": (0, 1), "test": (2, 10)})
    with pytest.raises(InputError, match="images of 3x4 pixels cannot be rotated"):
        replace(source, images=source.images[..., :3], rotated=("train",))
    with pytest.raises(InputError, match="source of episodes 'omniglott' is unknown"):
        get_source("omniglott")


def save(path: Path, value: int, size: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size, size), value, np.uint8)).save(path)


def test_a_folder_of_classes_is_split_by_class(tmp_path: Path) -> None:
    for c in range(10):
        for i in range(3):
            save(tmp_path / "birds" / f"c{c}" / f"{i}.png", 10 * c + i)
    source = get_source(str(tmp_path / "birds"))
    assert source.input_shape == (1, 12, 12)
    assert [len(source.splits[s]) for s in ("train", "validation", "test")] == [6, 2, 2]
    save(tmp_path / "birds" / "c3" / "odd.png", 0, size=9)
    with pytest.raises(InputError, match=r"odd.png' has 9x9 pixels and '0.png' has 12x12"):
        get_source(str(tmp_path / "birds"))
    assert get_source(str(tmp_path / "birds"), size=12).input_shape == (1, 12, 12)
    written = get_source(f"{tmp_path / 'birds'}:size=12")
    assert written.input_shape == (1, 12, 12)
    assert written.name == "birds"
    with pytest.raises(InputError, match="option of a source of episodes 'sise' is unknown"):
        get_source(f"{tmp_path / 'birds'}:sise=12")
    with pytest.raises(InputError, match="option 'size' is given twice"):
        get_source(f"{tmp_path / 'birds'}:size=12", size=8)


def test_a_folder_may_bring_its_splits(tmp_path: Path) -> None:
    for split, classes in (("train", "abc"), ("test", "de")):
        for c in classes:
            save(tmp_path / split / c / "0.png", ord(c))
    source = get_source(str(tmp_path))
    assert {s: [source.classes[c] for c in own] for s, own in source.splits.items()} == {
        "train": ["a", "b", "c"],
        "test": ["d", "e"],
    }
    save(tmp_path / "test" / "b" / "0.png", 7)
    with pytest.raises(InputError, match="class 'b' is in two splits"):
        get_source(str(tmp_path))


def test_published_class_splits(data_file: Callable[[str], Path]) -> None:
    arrays = np.load(data_file("images/cifar100_jpeg90.npz"))
    coarse = arrays["coarse_names"][arrays["fine_to_coarse"].astype(int)]
    from transnas.tasks import _class_splits as splits

    fc100 = splits.fc100(arrays["fine_names"].tolist())
    assert {s: len(own) for s, own in fc100.items()} == {"train": 60, "validation": 20, "test": 20}
    assert {str(coarse[c]) for c in fc100["test"]} == {
        "aquatic_mammals", "insects", "medium_mammals", "people",
    }  # fmt: skip
    owners = [{str(coarse[c]) for c in own} for own in fc100.values()]
    assert len(set.union(*owners)) == sum(len(own) for own in owners)
    cifar_fs = splits.cifar_fs(arrays["fine_names"].tolist())
    assert [len(own) for own in cifar_fs.values()] == [64, 16, 20]


def test_omniglot_splits(data_file: Callable[[str], Path]) -> None:
    data_file("images/omniglot_28x28.npz")
    source = get_source("omniglot")
    assert [len(source.splits[s]) for s in ("train", "validation", "test")] == [813, 151, 659]
    alphabets = [
        {source.classes[c].split("/")[0] for c in source.splits[s]}
        for s in ("train", "validation", "test")
    ]
    assert [len(found) for found in alphabets] == [25, 5, 20]
    assert len(alphabets[0] | alphabets[1] | alphabets[2]) == 50
    shuffled = get_source("omniglot-characters")
    assert [len(shuffled.splits[s]) for s in ("train", "validation", "test")] == [1100, 100, 423]


def test_which_splits_of_omniglot_are_rotated(data_file: Callable[[str], Path]) -> None:
    data_file("images/omniglot_28x28.npz")
    assert set(get_source("omniglot").rotated) == {"train"}
    by_character = get_source("omniglot-characters")
    assert set(by_character.rotated) == {"train", "validation", "test"}
    # The seed draws episodes and leaves the published split alone.
    assert get_source("omniglot-characters", seed=1).splits == by_character.splits
