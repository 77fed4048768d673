"""What R replicates have seen of their task: evaluated networks with raw rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.replay import new_priority

__all__ = ["History"]

_ROOM = 16


class History:
    """Entries 0..count[r]-1 of each replicate; a replicate whose trial failed has one less.

    Rewards are kept raw, because normalised ones change with every new entry. `log_policy` is
    log pi of each decision when the network was drawn, `sampled` whether it was a draw from the
    policy at all, `priority` the entry's priority in the evaluator's memory.
    """

    ARRAYS = ("codes", "rewards", "log_policy", "sampled", "priority")

    def __init__(self, coding: Coding, replicates: int) -> None:
        self._coding = coding
        self.count = torch.zeros(replicates, dtype=torch.long)
        shape = (replicates, 0)
        self.codes: Codes = np.zeros((*shape, coding.choices), dtype=np.int64)
        self.rewards = torch.zeros(shape, dtype=torch.float64)
        self.log_policy = torch.zeros((*shape, coding.choices), dtype=coding.dtype)
        self.sampled = torch.zeros(shape, dtype=torch.bool)
        self.priority = torch.zeros(shape, dtype=coding.dtype)
        self.onehot = torch.zeros((*shape, coding.features), dtype=coding.dtype)
        self.allowed = torch.zeros((*shape, coding.choices, coding.features), dtype=torch.bool)

    def __len__(self) -> int:
        """Return the entries of the replicate that has most."""
        return int(self.count.max())

    @property
    def present(self) -> torch.Tensor:
        """[R, N] bool: whether there is an entry."""
        return torch.arange(len(self)) < self.count.unsqueeze(-1)

    def append(
        self,
        codes: Codes,
        rewards: npt.NDArray[np.float64],
        log_policy: torch.Tensor,
        sampled: npt.NDArray[np.bool_],
    ) -> None:
        """Add one entry a replicate, left out where the reward is NaN.

        `codes` [R, T], `rewards` [R], `log_policy` [R, T], `sampled` [R].
        """
        if len(self) == self.codes.shape[1]:
            self._grow()
        rows = torch.as_tensor(np.flatnonzero(np.isfinite(rewards)))
        at = self.count[rows]
        fresh = new_priority(self.priority[:, : len(self)], self.present) if len(self) else None
        self.priority[rows, at] = 1.0 if fresh is None else fresh[rows]
        self.codes[rows.numpy(), at.numpy()] = codes[rows.numpy()]
        self.rewards[rows, at] = torch.as_tensor(rewards, dtype=torch.float64)[rows]
        self.log_policy[rows, at] = log_policy[rows]
        self.sampled[rows, at] = torch.as_tensor(sampled)[rows]
        self.onehot[rows, at] = self._coding.onehot(codes[rows.numpy()])
        self.allowed[rows, at] = self._coding.allowed_features(codes[rows.numpy()])
        self.count[rows] += 1

    def latest_sampled(self, window: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the last `window` entries that were drawn from the policy.

        Indices [R, W], and whether each is one [R, W].
        """
        order = torch.arange(1, len(self) + 1) * (self.sampled[:, : len(self)] & self.present)
        found, index = order.topk(min(window, len(self)), dim=-1)
        return index, found > 0

    def best(self, replicate: int) -> Codes | None:
        """Return the codes [T] of the best entry of one replicate; None if it has none."""
        count = int(self.count[replicate])
        if count == 0:
            return None
        found: Codes = self.codes[replicate, int(self.rewards[replicate, :count].argmax())]
        return found

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """Return the entries as arrays."""
        kept = {name: np.asarray(getattr(self, name))[:, : len(self)] for name in self.ARRAYS}
        return {"count": self.count.numpy(), **kept}

    def restore(self, state: dict[str, npt.NDArray[Any]]) -> None:
        """Inverse of `state`."""
        self.count = torch.as_tensor(np.array(state["count"]))
        self.codes = np.array(state["codes"])
        for name in self.ARRAYS[1:]:
            setattr(self, name, torch.as_tensor(np.array(state[name])))
        self.onehot = self._coding.onehot(self.codes)
        self.allowed = self._coding.allowed_features(self.codes)

    def _grow(self) -> None:
        replicates = len(self.count)
        room = np.zeros((replicates, _ROOM, self._coding.choices), dtype=np.int64)
        self.codes = np.concatenate([self.codes, room], axis=1)
        for name in (*self.ARRAYS[1:], "onehot", "allowed"):
            old = getattr(self, name)
            more = old.new_zeros((replicates, _ROOM, *old.shape[2:]))
            setattr(self, name, torch.cat([old, more], dim=1))
