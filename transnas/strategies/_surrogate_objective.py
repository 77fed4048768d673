"""The clipped surrogate objective of PPO, for whichever policy chooses architectures."""

from __future__ import annotations

import torch

__all__ = ["ppo_loss"]


def ppo_loss(
    log_pi: torch.Tensor,
    actions: torch.Tensor,
    old: torch.Tensor,
    advantage: torch.Tensor,
    present: torch.Tensor,
    clip: float,
    entropy: float,
) -> torch.Tensor:
    """Return -mean min(rho A, clip(rho, 1 - c, 1 + c) A) - entropy mean H(pi), [R].

    `log_pi` [R, W, T, D] of every feature, `actions` [R, W, T, D] one-hot of what was chosen,
    `old` [R, W, T] the log-probability at the time of the draw, `advantage` [R, W] (every
    decision of a network gets the same), `present` [R, W]. The means run over present networks
    and their decisions; 0 if there are none. Source: Schulman et al., 2017.
    """
    finite = log_pi.masked_fill(log_pi == -torch.inf, 0.0)
    chosen = (finite * actions).sum(dim=-1)
    ratio = (chosen - old).exp()
    gain = advantage.unsqueeze(-1)
    surrogate = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    # Where pi is 0, so is pi log pi: exp(0) = 1 of the filled features meets a log of 0.
    spread = -(finite.exp() * finite).sum(dim=-1)
    per_network = (surrogate + entropy * spread).mean(dim=-1)
    return -(per_network * present).sum(dim=-1) / present.sum(dim=-1).clamp(min=1)
