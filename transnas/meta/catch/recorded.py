"""A family that keeps its rewards on disk: what is interrupted loses no training."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from transnas._errors import InputError
from transnas.meta.catch._same import require_same
from transnas.meta.catch.coding import Codes
from transnas.meta.catch.families import Evaluate, Floats, TaskFamily
from transnas.spaces import Architecture

__all__ = ["Recorded"]

_FILE, _KIND, _FORMAT = "rewards.jsonl", "catch-rewards", 1
_FIELDS = ("seed", "epoch", "network", "reward")

Key = tuple[int, int, str]
"""Seed, epoch, and the text of a network."""


class Recorded(TaskFamily):
    """`family` with each reward kept in `folder` as it is measured, and answered from there.

    The rewards of `family` must depend on seed, epoch and network alone, as those of trainings
    do. Meta-training's draws are addressed: run again, it asks for the same networks, and goes on
    where it was at the cost of thinking. Rewards of networks that it does not ask for (it has
    other settings now) stay unused.

    The file has JSON lines, the first of which says what the training is. Raises `InputError` if
    that is another one than of `family` and `seeds`, or if a line is damaged; a last line that
    was not written to its end is dropped.
    """

    def __init__(self, family: TaskFamily, folder: Path, seeds: Sequence[int]) -> None:
        self.space = family.space
        self._family = family
        self._path = folder / _FILE
        head = {
            "kind": _KIND,
            "format": _FORMAT,
            "space": self.space.name,
            "seeds": list(seeds),
            "learnt_from": family.describe(),
        }
        self._head: dict[str, Any] = json.loads(json.dumps(head))
        self._known = self._read()
        self._waiting: dict[Key, float] = {}

    def tasks(self, seeds: Sequence[int], epoch: int) -> Evaluate:
        # One replicate at a time: each reward is kept before the next is measured, and a task
        # that is answered from the file is not made.
        @cache
        def measure(seed: int) -> Evaluate:
            return self._family.tasks([seed], epoch)

        def reward(seed: int, codes: Codes) -> float:
            key = self._key(seed, epoch, codes)
            if key in self._known:
                return self._known[key]
            found = float(measure(seed)(codes[None])[0])
            self._take(key, found)
            return found

        def rewards(codes: Codes) -> Floats:
            return np.array([reward(*pair) for pair in zip(seeds, codes, strict=True)])

        return rewards

    def measured_before(self, seeds: Sequence[int], epoch: int, codes: Codes) -> bool:
        keys = [self._key(seed, epoch, row) for seed, row in zip(seeds, codes, strict=True)]
        return all(key in self._known for key in keys)

    def describe(self) -> dict[str, Any]:
        return self._family.describe()

    def _key(self, seed: int, epoch: int, codes: Codes) -> Key:
        arch = Architecture(self.space.name, tuple(codes.tolist()))
        return seed, epoch, self.space.to_text(arch)

    def _take(self, key: Key, reward: float) -> None:
        """Keep a reward, on disk before anything else is measured.

        Failures wait for the first that is none: as long as there is none the machine may be the
        cause, and once it is mended they have to be measured again.
        """
        self._waiting[key] = reward
        if self._known or math.isfinite(reward):
            self._append([_row(key, reward) for key, reward in self._waiting.items()])
            self._known |= self._waiting
            self._waiting = {}

    def _append(self, rows: list[dict[str, Any]]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab") as file:
            lines = rows if file.tell() else [self._head, *rows]
            file.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
            file.flush()
            os.fsync(file.fileno())

    def _read(self) -> dict[Key, float]:
        """Return the kept rewards, once a torn last line is cut off the file."""
        if not self._path.exists():
            return {}
        try:
            content = self._path.read_bytes()
            whole = content[: content.rfind(b"\n") + 1]
            head, *rows = [dict(json.loads(line)) for line in whole.splitlines()] or [self._head]
            known = dict(map(_entry, rows))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"record {str(self._path)!r} is damaged ({error!r}); accepted: one as "
                "meta-training wrote it, or none"
            ) from error
        require_same(f"record {str(self._path)!r}", head, self._head)
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        return known


def _row(key: Key, reward: float) -> dict[str, Any]:
    """Return a reward as a line of the file; a failure's is null."""
    value = reward if math.isfinite(reward) else None
    return dict(zip(_FIELDS, (*key, value), strict=True))


def _entry(row: dict[str, Any]) -> tuple[Key, float]:
    """Inverse of `_row`; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
    seed, epoch, network, value = (row[field] for field in _FIELDS)
    return (int(seed), int(epoch), str(network)), math.nan if value is None else float(value)
