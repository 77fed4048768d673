"""The context encoder: what task is this, from (network, normalised reward) pairs."""

from __future__ import annotations

import torch

from transnas.meta.catch.mlp import Parameters, mlp

__all__ = ["kl_to_unit", "posterior", "product_of_gaussians", "with_z"]

_LEAST_VARIANCE = 1e-7


def posterior(
    parameters: Parameters, pairs: torch.Tensor, present: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of q(z|c), both [R, d]; N(0, I) for an empty history.

    q(z|c) is proportional to the product over pairs i of N(mu_i, s_i^2), with
    (mu_i, rho_i) = f_phi([onehot_i, r~_i]) and s_i^2 = max(softplus(rho_i), 1e-7).
    `pairs` [R, N, D + 1] are the one-hot networks with their normalised rewards, `present` [R, N]
    bool.
    Source: the paper's equation 1; softplus and its floor as in PEARL (Rakelly et al., 2019).
    """
    mean, rho = mlp(parameters, "encoder", pairs).chunk(2, dim=-1)
    variance = torch.nn.functional.softplus(rho).clamp(min=_LEAST_VARIANCE)
    return product_of_gaussians(mean, variance, present)


def product_of_gaussians(
    mean: torch.Tensor, variance: torch.Tensor, present: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and variance of the normalised product of diagonal Gaussians, [R, d].

    `mean` and `variance` [R, N, d]; factors that are not `present` [R, N] are left out, and an
    empty product is N(0, I). Lambda = sum 1/s_i^2, s^2 = 1/Lambda, mu = s^2 sum mu_i/s_i^2.
    """
    precision = present.unsqueeze(-1) / variance
    total = precision.sum(dim=-2)
    empty = ~present.any(dim=-1, keepdim=True)
    total = torch.where(empty, 1.0, total)
    return (precision * mean).sum(dim=-2) / total, 1 / total


def kl_to_unit(mean: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Return KL(N(mean, variance) || N(0, I)), summed over the last axis."""
    return 0.5 * (variance + mean.square() - 1 - variance.log()).sum(dim=-1)


def with_z(z: torch.Tensor, features: torch.Tensor) -> torch.Tensor:
    """Return [z, features]: [R, N, d + D] from z [R, d] and features [R, N, D]."""
    return torch.cat([z.unsqueeze(-2).expand(-1, features.shape[-2], -1), features], dim=-1)
