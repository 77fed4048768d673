"""Covariance functions on the blocks of an `Encoding`, as GPyTorch kernels.

With r^2 = sum_d (x_d - x'_d)^2 / l_d^2 on numbers:

- `se`: exp(-r^2 / 2) with one length-scale, `ard`: with one a dimension,
- `matern32`: (1 + sqrt 3 r) exp(-sqrt 3 r), `matern52`: (1 + sqrt 5 r + 5 r^2 / 3)
  exp(-sqrt 5 r), with one length-scale a dimension,

and on choices:

- `hamming`: exp(-sum_d [x_d != x'_d] / l_d), one length-scale a choice,
- `architecture`: a weighted sum of exp(-(differing choices) / l) and two squared exponentials, one
  on summaries and one on path counts; weights and length-scales are learnt.

Source: Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006, ch. 4.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from gpytorch.constraints import Positive
from gpytorch.kernels import Kernel, MaternKernel, RBFKernel, ScaleKernel
from gpytorch.priors import LogNormalPrior, NormalPrior
from torch import Tensor

from transnas.strategies.bayesian.encoding import Encoding

__all__ = [
    "ArchitectureKernel",
    "HammingKernel",
    "MixedKernel",
    "build",
    "positive",
]


def build(encoding: Encoding, numbers: str, choices: str) -> ScaleKernel:
    """Return amplitude times the kernel of the space's choices and numbers."""
    blocks = encoding.blocks
    kernel: Kernel
    if "codes" not in blocks:
        kernel = stationary(numbers, encoding.width)
    else:
        counts = tuple(len(c.values) for c in encoding.space.choices)
        kernel = (
            ArchitectureKernel(encoding) if choices == "architecture" else HammingKernel(counts)
        )
        if "numbers" in blocks:
            block = blocks["numbers"]
            kernel = MixedKernel(kernel, stationary(numbers, block.stop - block.start), encoding)
    return ScaleKernel(
        kernel,
        outputscale_prior=LogNormalPrior(0.0, 1.0),
        outputscale_constraint=positive(1.0),
    )


def positive(start: float) -> Positive:
    """Return the constraint of a positive parameter that is learnt as its logarithm."""
    return Positive(transform=torch.exp, inv_transform=torch.log, initial_value=start)


def stationary(name: str, dimensions: int, typical: float | None = None) -> Kernel:
    """Return a kernel of the distance in `dimensions` numbers, length-scales near `typical`.

    By default typical distances of the unit cube grow with the square root of its dimension, and
    so do the length-scales: Hvarfner, Hellsten & Nardi, "Vanilla Bayesian Optimization Performs
    Great in High Dimensions", ICML 2024.
    """
    middle = 0.5 * math.sqrt(dimensions) if typical is None else typical
    given: dict[str, Any] = {
        "ard_num_dims": None if name == "se" else dimensions,
        "lengthscale_prior": LogNormalPrior(math.log(middle), 1.0),
        "lengthscale_constraint": positive(middle),
    }
    if name in ("se", "ard"):
        return RBFKernel(**given)
    return MaternKernel(nu={"matern32": 1.5, "matern52": 2.5}[name], **given)


class HammingKernel(Kernel):  # type: ignore[misc]
    """exp(-sum_d [x_d != x'_d] / l_d) on one-hot codes of `counts` values a choice.

    Columns behind the codes are left alone. `shared` gives all choices one length-scale.
    """

    has_lengthscale = True

    def __init__(self, counts: tuple[int, ...], shared: bool = False) -> None:
        typical = max(len(counts) / 2, 1.0)
        super().__init__(
            ard_num_dims=None if shared else len(counts),
            lengthscale_prior=LogNormalPrior(math.log(typical), 1.0),
            lengthscale_constraint=positive(typical),
        )
        owner = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        self.register_buffer("owner", owner)
        self.choices = len(counts)

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Return the kernel of rows `x1` [..., n, width] and `x2` [..., m, width]."""
        weights = (1 / self.lengthscale).expand(1, self.choices)[0]
        a = x1[..., : len(self.owner)] * weights[self.owner]
        b = x2[..., : len(self.owner)]
        agreeing = (a * b).sum(-1) if diag else a @ b.transpose(-1, -2)
        return torch.exp(agreeing - weights.sum())


class ArchitectureKernel(Kernel):  # type: ignore[misc]
    """w_1 k_codes + w_2 k_summary + w_3 k_paths with weights that add to one."""

    def __init__(self, encoding: Encoding) -> None:
        super().__init__()
        counts = tuple(len(c.values) for c in encoding.space.choices)
        summary, paths = encoding.blocks.get("summary"), encoding.blocks.get("paths")
        self.parts = torch.nn.ModuleList([HammingKernel(counts, shared=True)])
        self.columns = [slice(0, sum(counts))]
        if summary is not None:
            # A standardised feature differs by sqrt 2 in the mean square.
            self.parts.append(stationary("se", 1, math.sqrt(summary.stop - summary.start)))
            self.columns.append(summary)
        if paths is not None:
            self.parts.append(stationary("se", 1, 1.0))
            self.columns.append(paths)
        weights = torch.nn.Parameter(torch.zeros(len(self.parts)))
        self.register_parameter("raw_weights", weights)
        self.register_prior("weights_prior", NormalPrior(0.0, 1.0), "raw_weights")

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Return the kernel of rows `x1` [..., n, width] and `x2` [..., m, width]."""
        weights = torch.softmax(self.raw_weights, dim=-1)
        parts = [
            part.forward(x1[..., block], x2[..., block], diag=diag)
            for part, block in zip(self.parts, self.columns, strict=True)
        ]
        weighted = [w * k for w, k in zip(weights, parts, strict=True)]
        return torch.stack(weighted).sum(0)


class MixedKernel(Kernel):  # type: ignore[misc]
    """(1 - m) (k_choices + k_numbers) / 2 + m k_choices k_numbers with a learnt mixing m.

    Source: Ru et al., "Bayesian Optimisation over Multiple Continuous and Categorical Inputs",
    ICML 2020.
    """

    def __init__(self, choices: Kernel, numbers: Kernel, encoding: Encoding) -> None:
        super().__init__()
        self.choices, self.numbers = choices, numbers
        self.columns = encoding.blocks["numbers"]
        self.register_parameter("raw_mixing", torch.nn.Parameter(torch.zeros(1)))
        self.register_prior("mixing_prior", NormalPrior(0.0, 1.0), "raw_mixing")

    def forward(self, x1: Tensor, x2: Tensor, diag: bool = False, **params: Any) -> Tensor:
        """Return the kernel of rows `x1` [..., n, width] and `x2` [..., m, width]."""
        mixing = torch.sigmoid(self.raw_mixing)
        first = self.choices.forward(x1, x2, diag=diag)
        second = self.numbers.forward(x1[..., self.columns], x2[..., self.columns], diag=diag)
        mixed: Tensor = (1 - mixing) * (first + second) / 2 + mixing * first * second
        return mixed
