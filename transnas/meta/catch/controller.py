"""The controller: a masked categorical policy over the choices of a space, given z, and PPO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from transnas.meta.catch.coding import Codes, Coding
from transnas.meta.catch.encoder import with_z
from transnas.meta.catch.mlp import Parameters, mlp
from transnas.strategies._surrogate_objective import ppo_loss

__all__ = ["Policy", "PolicyBatch", "Sampled", "log_policy", "ppo_loss"]


@dataclass(frozen=True)
class Sampled:
    """Networks drawn from the policy: codes and log pi(a_t | z, s_t), both [R, S, T]."""

    codes: Codes
    log_policy: torch.Tensor


@dataclass(frozen=True)
class PolicyBatch:
    """W evaluated networks a replicate that PPO learns from.

    `states`, `actions` and `allowed` [R, W, T, D]: one-hots before and of each decision, and what
    the mask allowed; `old` [R, W, T] log pi when drawn; `advantage` and `present` [R, W].
    """

    states: torch.Tensor
    actions: torch.Tensor
    allowed: torch.Tensor
    old: torch.Tensor
    advantage: torch.Tensor
    present: torch.Tensor

    def loss(self, log_pi: torch.Tensor, clip: float, entropy: float) -> torch.Tensor:
        """Return `ppo_loss` under a policy with `log_pi` [R, W, T, D], [R]."""
        return ppo_loss(log_pi, self.actions, self.old, self.advantage, self.present, clip, entropy)


def log_policy(
    parameters: Parameters, z: torch.Tensor, states: torch.Tensor, allowed: torch.Tensor
) -> torch.Tensor:
    """Return log pi(. | z, s_t) of every feature, [R, N, T, D]; -inf where not `allowed`.

    `states` [R, N, T, D] are the one-hots of the choices so far; `allowed` [R, N, T, D] marks
    the values of choice t that the space's mask lets follow, so decision t reads its own slice.
    Probability is renormalised over what is allowed.
    """
    logits = mlp(parameters, "controller", with_z(z, states.flatten(1, 2)))
    masked = logits.view(states.shape).masked_fill(~allowed, -torch.inf)
    return torch.log_softmax(masked, dim=-1)


class Policy:
    """pi(. | z) of R replicates as it stands, to draw networks from.

    Where the prefixes of a decision are fewer than the networks that may be drawn, `most`, what
    follows each of them is worked out once and kept for all draws.
    """

    def __init__(self, parameters: Parameters, z: torch.Tensor, coding: Coding, most: int) -> None:
        self.parameters = {n: p for n, p in parameters.items() if n.startswith("controller")}
        self.z = z
        self.coding = coding
        prefixes = np.cumprod(coding.counts, dtype=np.float64) / coding.counts
        self._tables = [
            self._after(np.broadcast_to(coding.prefixes(t), (len(z), int(number), t)), slice(None))
            for t, number in enumerate(prefixes)
            if number < most
        ]

    def sample(self, rows: npt.NDArray[np.int64], draws: npt.NDArray[np.float64]) -> Sampled:
        """Draw networks of the replicates `rows` [A] by inverting cumulative probabilities.

        `draws` [A, S, T] are uniform in (0, 1).
        """
        codes: Codes = np.zeros(draws.shape, dtype=np.int64)
        logs = np.zeros(draws.shape)
        number = np.zeros(draws.shape[:2], dtype=np.int64)
        for t, count in enumerate(self.coding.counts.tolist()):
            if t < len(self._tables):
                log_p, total = (table[rows[:, None], number] for table in self._tables[t])
            else:
                log_p, total = self._after(codes[..., :t], rows)
            code = (total <= draws[..., t : t + 1] * total[..., -1:]).sum(axis=-1)
            codes[..., t] = code
            logs[..., t] = np.take_along_axis(log_p, code[..., None], axis=-1)[..., 0]
            number = number * count + code
        return Sampled(codes, torch.as_tensor(logs, dtype=self.coding.dtype))

    @torch.no_grad()
    def _after(
        self, prefixes: Codes, rows: npt.NDArray[np.int64] | slice
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.float64]]:
        """Return log pi of the values after prefixes [A, N, t], and its cumulative probability."""
        t = prefixes.shape[-1]
        values = slice(
            int(self.coding.offsets[t]), int(self.coding.offsets[t] + self.coding.counts[t])
        )
        own = {name: p[rows] for name, p in self.parameters.items()}
        states = with_z(self.z[rows], self.coding.onehot(prefixes))
        logits = mlp(own, "controller", states)[..., values]
        allowed = torch.as_tensor(np.array(self.coding.allowed(prefixes)))
        log_p = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1)
        # A masked value adds nothing to the sum, so that no draw falls on it.
        return log_p.numpy(), log_p.double().exp().cumsum(dim=-1).numpy()
