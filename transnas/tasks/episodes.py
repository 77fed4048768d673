"""Few-shot episodes: small classification tasks drawn from the classes of one large data set.

Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016. Episode j of a split is a
pure function of (split, seed, way, shot, query, j): a counter-based generator (Philox) starts at
j, so any worker makes any episode, an interrupted run goes on exactly, and every method is tested
on the same episodes. Images stay in memory as one uint8 tensor, and a batch is one gather.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from transnas._checks import check_whole
from transnas._errors import InputError, unknown

if TYPE_CHECKING:  # listing tasks needs no torch
    import torch
    from torch import Tensor

__all__ = ["EpisodeBatch", "EpisodeSource", "EpisodeSpec"]

_WORDS = 4
"""Random words that one step of the generator's counter gives."""
_Words = npt.NDArray[np.uint64]
_Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class EpisodeSpec:
    """Size of an episode: `way` classes, `shot` support and `query` query images of each."""

    way: int = 5
    shot: int = 1
    query: int = 15

    def __post_init__(self) -> None:
        for name, least in (("way", 2), ("shot", 1), ("query", 1)):
            check_whole(name, getattr(self, name), least)


@dataclass(frozen=True)
class EpisodeBatch:
    """Episodes `first`, `first + 1`, ...: inputs float32, labels int64 in 0 .. way - 1."""

    xs: Tensor
    """Support images [B, way * shot, C, H, W], in random order."""
    ys: Tensor
    """Support labels [B, way * shot]."""
    xq: Tensor
    """Query images [B, way * query, C, H, W], in random order."""
    yq: Tensor
    """Query labels [B, way * query]."""
    first: int
    classes: Tensor
    """Class behind each label [B, way]."""
    images: Tensor
    """Index of each image in the source [B, way * (shot + query)], support first."""

    def __len__(self) -> int:
        return len(self.xs)

    def __getitem__(self, tasks: slice) -> EpisodeBatch:
        """Return some of the episodes."""
        names = ("xs", "ys", "xq", "yq", "classes", "images")
        start = tasks.indices(len(self))[0]
        parts = {name: getattr(self, name)[tasks] for name in names}
        return replace(self, first=self.first + start, **parts)


@dataclass(frozen=True)
class EpisodeSource:
    """Images of many classes, and which classes belong to which split.

    Splits name disjoint sets of classes; they may leave classes out. Episodes of the splits in
    `rotated` turn each class by 0, 90, 180 or 270 degrees, drawn anew in every episode (Santoro
    et al., ICML 2016). Inputs are `images / scale`, minus `mean`, divided by `std`, each [C].
    Raises `InputError` for parts that do not fit together.
    """

    name: str
    images: Tensor
    """uint8 [n, C, H, W]"""
    labels: Tensor
    """int64 [n], indices of `classes`"""
    classes: tuple[str, ...]
    splits: Mapping[str, tuple[int, ...]]
    seed: int = 0
    rotated: Collection[str] = ()
    scale: float = 255.0

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or len(self.images) != len(self.labels):
            raise InputError(
                f"images of shape {tuple(self.images.shape)} with {len(self.labels)} labels are "
                "not accepted; accepted: images [n, channels, height, width] with n labels"
            )
        count, (height, width) = len(self.classes), self.images.shape[2:]
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < count:
            raise InputError(
                f"labels {int(self.labels.min())}..{int(self.labels.max())} of {self.name!r} do "
                f"not fit its classes; accepted: 0..{count - 1}"
            )
        if self.rotated and height != width:
            raise InputError(
                f"images of {width}x{height} pixels cannot be rotated; accepted: squares"
            )
        owner: dict[int, str] = {}
        for split, members in self.splits.items():
            for member in members:
                if not 0 <= member < count:
                    raise InputError(
                        f"class {member} of split {split!r} of {self.name!r} is out of range; "
                        f"accepted: 0..{count - 1}"
                    )
                if member in owner:
                    raise InputError(
                        f"class {self.classes[member]!r} is in the splits {owner[member]} and "
                        f"{split}; accepted: every class in one split"
                    )
                owner[member] = split

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @cached_property
    def _members(self) -> list[_Indices]:
        """Images of each class."""
        labels = self.labels.cpu().numpy()
        order = np.argsort(labels, kind="stable")
        ends = np.searchsorted(labels[order], np.arange(1, len(self.classes)))
        return np.split(order, ends)

    @cached_property
    def digest(self) -> str:
        """Equal for sources of the same images, labels and splits, prepared in the same way."""
        told = (
            self.images.dtype, tuple(self.images.shape), len(self.classes),
            sorted(self.splits.items()), sorted(self.rotated), self.scale,
        )  # fmt: skip
        found = hashlib.sha256(repr(told).encode())
        for tensor in (self.labels, self.images):
            found.update(tensor.cpu().contiguous().numpy().data)
        return found.hexdigest()[:16]

    @cached_property
    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each channel over the training classes, [C, 1, 1]."""
        import torch

        own = [self._members[c] for c in self.splits.get("train", range(len(self.classes)))]
        chosen = np.concatenate(own)[:: max(1, sum(map(len, own)) // 10_000)]
        pixels = self.images[torch.from_numpy(chosen).to(self.images.device)].double()
        pixels /= self.scale
        mean = pixels.mean(dim=(0, 2, 3)).float()[:, None, None]
        std = pixels.std(dim=(0, 2, 3)).float()[:, None, None]
        return mean, std.clamp_min(1e-3)

    def to(self, device: torch.device | str) -> EpisodeSource:
        """Return the source with its images on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def halves(self, split: str) -> tuple[EpisodeSource, EpisodeSource]:
        """Return two sources that share `split`'s classes and halve each class's images.

        Their episodes are drawn independently. Auto-MAML adapts weights on one half and
        architectures on the other.
        """
        rng = np.random.Generator(np.random.Philox(key=_key("halves", split, self.seed)))
        first, second = [], []
        for c in self.splits[split]:
            shuffled = rng.permutation(self._members[c])
            first.append(shuffled[: len(shuffled) // 2])
            second.append(shuffled[len(shuffled) // 2 :])
        return self._of(split, first, 0), self._of(split, second, 1)

    def _of(self, split: str, members: Sequence[_Indices], number: int) -> EpisodeSource:
        import torch

        kept = torch.from_numpy(np.sort(np.concatenate(members))).to(self.images.device)
        half = replace(
            self,
            images=self.images[kept],
            labels=self.labels[kept],
            splits={split: self.splits[split]},
            seed=_key("half", number, self.seed),
        )
        half.__dict__["moments"] = self.moments  # both halves are normalised as the whole
        return half

    def normalise(self, images: Tensor) -> Tensor:
        """Return inputs float32 of uint8 images [..., C, H, W]."""
        mean, std = self.moments
        return (images.float() / self.scale - mean) / std

    def check(self, split: str, spec: EpisodeSpec) -> None:
        """Raise `InputError` unless `split` has the classes and images that `spec` asks for."""
        if split not in self.splits:
            raise unknown(f"split of {self.name!r}", split, self.splits)
        members = self.splits[split]
        if len(members) < spec.way:
            fewer = f"a way from 2 to {len(members)}, or " if len(members) > 1 else ""
            raise InputError(
                f"way {spec.way} is more than the {len(members)} {split} classes of "
                f"{self.name!r}; accepted: {fewer}{spec.way} or more classes in this split"
            )
        smallest = min(members, key=lambda c: len(self._members[c]))
        count = len(self._members[smallest])
        if count < spec.shot + spec.query:
            raise InputError(
                f"shot {spec.shot} + query {spec.query} is more than the {count} images of class "
                f"{self.classes[smallest]!r} of {self.name!r}; accepted: at most {count} together"
            )

    def batch(self, split: str, spec: EpisodeSpec, first: int, count: int) -> EpisodeBatch:
        """Return episodes `first` .. `first + count - 1` of `split`.

        Raises `InputError` if the split has too few classes or images for `spec`.
        """
        import torch

        self.check(split, spec)
        classes, chosen, turns, order = self._draw(split, spec, first, count)
        device = self.images.device
        labels = np.broadcast_to(np.arange(spec.way)[None, :, None], chosen.shape)
        parts = []
        for part, places in zip((slice(spec.shot), slice(spec.shot, None)), order, strict=True):
            flat = [a[:, :, part].reshape(count, -1) for a in (chosen, labels, turns)]
            parts.append([np.take_along_axis(a, places, axis=1) for a in flat])
        (support, ys, turned_s), (query, yq, turned_q) = parts

        def pictures(indices: _Indices, turned: _Indices) -> Tensor:
            found = self.images[torch.from_numpy(indices).to(device)]
            for quarter in np.unique(turned[turned > 0]).tolist():
                which = torch.from_numpy(turned == quarter).to(device)
                found[which] = torch.rot90(found[which], quarter, (2, 3))
            return self.normalise(found)

        return EpisodeBatch(
            pictures(support, turned_s),
            torch.from_numpy(ys).to(device),
            pictures(query, turned_q),
            torch.from_numpy(yq).to(device),
            first,
            torch.from_numpy(classes),
            torch.from_numpy(np.concatenate([support, query], axis=1)),
        )

    def _draw(
        self, split: str, spec: EpisodeSpec, first: int, count: int
    ) -> tuple[_Indices, _Indices, _Indices, tuple[_Indices, _Indices]]:
        """Return classes [B, way], images and quarter turns [B, way, shot + query], and orders.

        The smallest k of n random words are a uniform sample of k without replacement in random
        order; each episode uses the same number of words, so its place in the stream is known.
        """
        members = np.array(self.splits[split])
        sizes = np.array([len(self._members[c]) for c in members])
        table = np.full((len(members), sizes.max()), -1)
        for row, c in enumerate(members):
            table[row, : sizes[row]] = self._members[c]
        each = spec.shot + spec.query
        needs = (
            len(members),
            spec.way * table.shape[1],
            spec.way,
            spec.way * spec.shot,
            spec.way * spec.query,
        )
        key = _key(split, self.seed, spec.way, spec.shot, spec.query)
        by_class, by_image, by_turn, by_support, by_query = _words(key, first, count, needs)
        rows = by_class.argsort(axis=1)[:, : spec.way]
        image_words = by_image.reshape(count, spec.way, -1)
        absent = np.arange(table.shape[1]) >= sizes[rows][:, :, None]
        image_words = np.where(absent, np.uint64(2**64 - 1), image_words)
        places = image_words.argsort(axis=2)[:, :, :each]
        chosen = np.take_along_axis(table[rows], places, axis=2)
        quarters = (by_turn >> np.uint64(62)).astype(np.int64) * (split in self.rotated)
        turns = np.broadcast_to(quarters[:, :, None], chosen.shape)
        return members[rows], chosen, turns, (by_support.argsort(1), by_query.argsort(1))


def _key(*parts: object) -> int:
    """Return a generator's key for what the parts name."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:16], "little")


def _words(key: int, first: int, count: int, needs: Sequence[int]) -> list[_Words]:
    """Return random words, an array [count, need] for each of `needs`, from episode `first` on."""
    steps = -(-sum(needs) // _WORDS)
    generator = np.random.Philox(key=key, counter=first * steps)
    words = generator.random_raw(count * steps * _WORDS).reshape(count, -1)
    return np.split(words[:, : sum(needs)], np.cumsum(needs)[:-1], axis=1)
