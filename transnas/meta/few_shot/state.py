"""What a meta-training knows between two steps, and how it lies on disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["State"]

Arrays = dict[str, npt.NDArray[Any]]


@dataclass
class State:
    """Meta-parameters, outer optimisers, and counters. Everything is changed in place."""

    meta: dict[str, Tensor]
    optimisers: dict[str, torch.optim.Optimizer]
    step: int = 0
    """Meta-steps done."""
    skipped: int = 0
    """Tasks left out because a loss or gradient was not finite."""

    def arrays(self) -> Arrays:
        """Return every tensor by a name, for safetensors."""
        found = {f"meta/{name}": value for name, value in self.meta.items()}
        for key, optimiser in self.optimisers.items():
            for i, slots in optimiser.state_dict()["state"].items():
                found |= {f"optimiser/{key}/{i}/{slot}": value for slot, value in slots.items()}
        return {name: value.detach().cpu().numpy() for name, value in found.items()}

    def restore(self, arrays: Arrays, step: int, skipped: int) -> None:
        """Take over what `arrays` of an equal state held."""
        self.step, self.skipped = step, skipped
        slots: dict[str, dict[int, dict[str, Tensor]]] = {key: {} for key in self.optimisers}
        for name, array in arrays.items():
            kind, _, rest = name.partition("/")
            value = torch.from_numpy(np.array(array))
            if kind == "meta":
                self.meta[rest].data.copy_(value)
            elif kind == "optimiser":
                key, i, slot = rest.split("/")
                scalar = value.numel() == 1 and slot == "step"  # files hold no scalars
                slots[key].setdefault(int(i), {})[slot] = value.reshape(()) if scalar else value
        for key, optimiser in self.optimisers.items():
            whole = optimiser.state_dict()
            whole["state"] = slots[key]
            optimiser.load_state_dict(whole)
