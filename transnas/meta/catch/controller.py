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

__all__ = ["PolicyBatch", "Sampled", "log_policy", "ppo_loss", "sample"]


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


@torch.no_grad()
def sample(
    parameters: Parameters, z: torch.Tensor, coding: Coding, draws: npt.NDArray[np.float64]
) -> Sampled:
    """Draw networks from the policy by inverting cumulative probabilities.

    `draws` [R, S, T] are uniform in (0, 1). While the prefixes of a decision are fewer than the
    networks, each prefix goes through the controller once.
    """
    replicates, count, choices = draws.shape
    codes: Codes = np.zeros((replicates, count, choices), dtype=np.int64)
    logs = torch.zeros(draws.shape, dtype=coding.dtype)
    for t in range(choices):
        start, width = int(coding.offsets[t]), int(coding.counts[t])
        prefix = codes[..., :t]
        if np.prod(coding.counts[:t], dtype=np.float64) < count:
            states = coding.onehot(coding.prefixes(t)).expand(replicates, -1, -1)
            rows = torch.as_tensor(coding.number(prefix)).unsqueeze(-1).expand(-1, -1, width)
        else:
            states, rows = coding.onehot(prefix), None
        logits = mlp(parameters, "controller", with_z(z, states))[..., start : start + width]
        logits = logits if rows is None else logits.gather(1, rows)
        allowed = torch.as_tensor(np.array(coding.allowed(prefix)))
        log_p = torch.log_softmax(logits.masked_fill(~allowed, -torch.inf), dim=-1)
        # A masked value adds nothing to the sum, so that no draw falls on it.
        total = log_p.double().exp().cumsum(dim=-1)
        threshold = torch.as_tensor(draws[..., t : t + 1]) * total[..., -1:]
        code = (total <= threshold).sum(dim=-1)
        codes[..., t] = code.numpy()
        logs[..., t] = log_p.gather(-1, code.unsqueeze(-1)).squeeze(-1)
    return Sampled(codes, logs)
