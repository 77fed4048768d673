"""Deterministic stratified splits, and the checks that every set of images must pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from transnas._errors import InputError

__all__ = ["Array", "check_images", "check_labels", "cuts_of", "first_per_class", "stratified"]

Array = npt.NDArray[np.generic]
Labels = npt.NDArray[np.int64]


def stratified(
    labels: Labels, fractions: Sequence[float], seed: int, classes: Sequence[str], name: str
) -> list[npt.NDArray[np.int64]]:
    """Return index arrays, one a fraction, with each class divided in these proportions.

    Every part gets at least one image of each class. The fractions sum to 1; indices are
    ascending, and a class's draw depends on `seed`, its number and its size only. Raises
    `InputError` for a class with fewer images than parts.
    """
    parts: list[list[npt.NDArray[np.int64]]] = [[] for _ in fractions]
    for label in range(len(classes)):
        members = np.flatnonzero(labels == label)
        if len(members) < len(fractions):
            raise InputError(
                f"class {classes[label]!r} of {name} has {len(members)} image(s); "
                f"accepted: at least {len(fractions)}, one a split"
            )
        order = np.random.default_rng([seed, label]).permutation(members)
        for part, chosen in zip(
            parts, np.split(order, cuts_of(len(members), fractions)), strict=True
        ):
            part.append(chosen)
    return [np.sort(np.concatenate(part)) for part in parts]


def cuts_of(count: int, fractions: Sequence[float]) -> list[int]:
    """Return where to cut `count` members so that each part has at least one."""
    cuts: list[int] = []
    for i, share in enumerate(np.cumsum(fractions)[:-1]):
        least = (cuts[-1] if cuts else 0) + 1
        most = count - (len(fractions) - 1 - i)
        cuts.append(int(np.clip(round(count * float(share)), least, most)))
    return cuts


def first_per_class(labels: Labels, limit: int | None) -> npt.NDArray[np.int64]:
    """Return the indices of the first `limit` images of each class, ascending; None: all."""
    if limit is None:
        return np.arange(len(labels))
    kept = [np.flatnonzero(labels == label)[:limit] for label in np.unique(labels)]
    return np.sort(np.concatenate(kept)) if kept else np.arange(0)


def check_images(images: Array, name: str) -> None:
    """Raise `InputError` unless `images` [N, C, H, W] hold at least one image of finite numbers."""
    if len(images) == 0:
        raise InputError(f"{name} holds no images; accepted: at least one a class")
    if images.dtype.kind not in "uifb":
        raise InputError(f"images of {name} are of type {images.dtype}; accepted: numbers")
    if min(images.shape[1:]) < 1:
        raise InputError(f"images of {name} are of shape {images.shape[1:]}; accepted: no zeros")
    if images.dtype.kind == "f":
        bad = ~np.isfinite(images.reshape(len(images), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                f"image {int(bad.argmax())} of {name} holds NaN or infinity; "
                "accepted: finite numbers"
            )


def check_labels(labels: Array, classes: Sequence[str], name: str) -> Labels:
    """Return `labels` as int64; raise `InputError` unless they are 0..len(classes)-1.

    A task needs at least two classes.
    """
    if labels.ndim != 1:
        raise InputError(f"labels of {name} have shape {labels.shape}; accepted: one an image")
    whole = labels.dtype.kind in "uib" or (
        labels.dtype.kind == "f"
        and bool((np.isfinite(labels) & (labels == np.floor(labels))).all())
    )
    if not whole:
        raise InputError(f"labels of {name} are of type {labels.dtype}; accepted: whole numbers")
    if len(classes) < 2:
        raise InputError(f"{name} has {len(classes)} class(es); accepted: at least 2")
    numbers = labels.astype(np.int64)
    outside = (numbers < 0) | (numbers >= len(classes))
    if outside.any():
        at = int(outside.argmax())
        raise InputError(
            f"label {int(numbers[at])} of image {at} of {name} is out of range; "
            f"accepted: 0..{len(classes) - 1}"
        )
    return numbers
