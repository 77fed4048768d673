"""`ZeroCost`: what an untrained network tells of itself with one batch of images.

Each proxy is one function of (network, images, labels); it may change the network. Greater is
better. Sums over weights w are over those of convolutions and linear layers, as in Abdelfattah et
al., "Zero-Cost Proxies for Lightweight NAS" (ICLR 2021).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import Dataset

from transnas import networks
from transnas._checks import check_whole
from transnas._errors import InputError, unknown
from transnas.evaluation._base import Cost, Evaluator, Measurement
from transnas.evaluation._fit import check_device, deterministic, workplace
from transnas.evaluation._resolve import resolve_skeleton
from transnas.spaces import Architecture, Space
from transnas.tasks import DataTask, Signature, Task
from transnas.tasks._tensors import TensorSplit

__all__ = [
    "PROXIES",
    "Proxy",
    "ZeroCost",
    "code_kernel",
    "grad_norm",
    "jacov",
    "log_determinant",
    "nwot",
    "snip",
    "spectrum_score",
    "synflow",
]

Proxy = Callable[[nn.Module, Tensor, Tensor], float]

_RELUS = (
    torch.ops.aten.relu.default,
    torch.ops.aten.relu_.default,
    torch.ops.aten.hardtanh.default,  # ReLU6
    torch.ops.aten.hardtanh_.default,
)


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return sum_w |w dR/dw| with R = sum f(1; |theta|), the flow of an image of ones.

    Normalisation is left out, as in the source's use for architectures: with fresh statistics,
    evaluation mode is the identity (to its epsilon). Neither images nor labels are used.
    Source: Tanaka et al., "Pruning neural networks without any data by iteratively conserving
    synaptic flow", NeurIPS 2020.
    """
    network.double().eval()
    with torch.no_grad():
        for tensor in network.parameters():
            tensor.abs_()
    flow = network(torch.ones_like(images[:1], dtype=torch.float64)).sum()
    return sum(float((w * g).abs().sum()) for w, g in _gradients(network, flow))


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return sum_w |w dL/dw|: what the loss would change by, were each weight removed alone.

    Source: Lee, Ajanthan & Torr, "SNIP", ICLR 2019.
    """
    loss = F.cross_entropy(network.train()(images), labels)
    return sum(float((w * g).abs().sum()) for w, g in _gradients(network, loss))


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the sum over layers of |dL/dW|_2. Source: Abdelfattah et al., ICLR 2021."""
    loss = F.cross_entropy(network.train()(images), labels)
    return sum(float(g.norm()) for _, g in _gradients(network, loss))


def nwot(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return log |K_H|, K_H[i, j] = number of ReLUs that agree on images i and j.

    A linear region of the network is a binary code, one bit a ReLU: large where the codes of
    different images differ. Source: Mellor et al., "Neural Architecture Search without
    Training", ICML 2021.
    """
    with torch.no_grad(), _Activations(len(images)) as seen:
        network.train()(images)
    return log_determinant(seen.kernel)


def jacov(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return `spectrum_score` of the correlations of J, row i: d sum f(x_i) / d x_i.

    Source: Mellor et al., "Neural Architecture Search without Training", first version, 2020
    (arXiv 2006.04647v1).
    """
    images = images.clone().requires_grad_()
    (jacobian,) = torch.autograd.grad(network.train()(images).sum(), images)
    return spectrum_score(torch.corrcoef(jacobian.flatten(1).double()))


PROXIES: Mapping[str, Proxy] = {
    "synflow": synflow, "nwot": nwot, "jacov": jacov, "snip": snip, "grad_norm": grad_norm,
}  # fmt: skip


def code_kernel(codes: Tensor) -> Tensor:
    """Return how many bits each two codes share, [N, N] float64; `codes` [N, bits] in {0, 1}."""
    on = codes.float()  # sums of up to 2^24 ones are exact
    return (on @ on.T + (1 - on) @ (1 - on).T).double()


def log_determinant(kernel: Tensor) -> float:
    """Return log |K|; -inf for a singular K (two images with one code)."""
    return float(torch.linalg.slogdet(kernel).logabsdet)


def spectrum_score(correlations: Tensor, k: float = 1e-5) -> float:
    """Return -sum_i log(s_i + k) + 1 / (s_i + k) over the eigenvalues s; NaN if some are."""
    if not torch.isfinite(correlations).all():
        return math.nan
    s = torch.linalg.eigvalsh(correlations)
    return -float((torch.log(s + k) + 1 / (s + k)).sum())


def _gradients(network: nn.Module, loss: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return (weight, gradient) of each layer that the loss depends on."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return [(w.detach(), g) for w, g in zip(weights, found, strict=True) if g is not None]


class _Activations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up `code_kernel` over all ReLUs that run, whether modules or functions."""

    def __init__(self, images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kernel = torch.zeros(images, images, dtype=torch.float64)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in _RELUS:
            self.kernel = self.kernel.to(out.device) + code_kernel(out.flatten(1) > 0)
        return out


class ZeroCost(Evaluator):
    """Scores architectures without training; seconds at most, the budget is not used.

    Metrics are the names of `proxies`, greater is better; the seed draws weights and the batch
    of `batch_size` training images. On a task without data (a table) the images are standard
    normal noise with labels at random. A score that is not finite fails the measurement with
    its name; the finite ones are kept.
    """

    def __init__(
        self,
        task: Task,
        space: Space,
        proxies: Sequence[str] = ("synflow", "nwot"),
        batch_size: int = 64,
        skeleton: Mapping[str, Any] | None = None,
        device: str = "auto",
    ) -> None:
        if isinstance(proxies, str) or not proxies:
            raise InputError(f"proxies {proxies!r} are not accepted; accepted: a list of names")
        for name in proxies:
            if name not in PROXIES:
                raise unknown("proxy", name, PROXIES)
        if task.kind != "classification":
            raise InputError(
                f"task {task.name!r} is for {task.kind}; accepted for proxies: classification"
            )
        check_device(device)
        self.split = task.train if isinstance(task, DataTask) else None
        self.signature = task.signature
        self.space = space
        self.proxies = tuple(proxies)
        self.batch_size = check_whole("batch_size", batch_size, 2)
        self.skeleton = resolve_skeleton(space, task.signature, skeleton)
        self.device = device

    def reports(self) -> frozenset[str]:
        """See `Evaluator.reports`."""
        return frozenset(self.proxies)

    def evaluate(self, arch: Architecture, budget: int | None = None, seed: int = 0) -> Measurement:
        """Score `arch`; `budget` is checked and has no effect."""
        check_whole("epochs", 1 if budget is None else budget, 1)
        self.space.validate(arch)
        at = workplace(self.device, "32-true")
        started = time.perf_counter()
        generator = torch.Generator().manual_seed(seed)
        images, labels = _batch(self.split, self.signature, self.batch_size, generator)
        images, labels = images.to(at.device), labels.to(at.device)
        with deterministic(seed, at.device):
            network = networks.build(self.space, arch, self.signature, **self.skeleton)
            network = network.to(at.device)
            # Each proxy gets the same weights and statistics, whatever others did to theirs.
            scores = {p: PROXIES[p](deepcopy(network), images, labels) for p in self.proxies}
        cost = Cost(time.perf_counter() - started, 0, at.label)
        finite = {p: score for p, score in scores.items() if math.isfinite(score)}
        if len(finite) == len(scores):
            return Measurement(finite, cost)
        bad = ", ".join(p for p in scores if p not in finite)
        return Measurement(finite, cost, "failed", f"{bad}: not finite")


def _batch(
    split: Dataset[Any] | None, signature: Signature, size: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return `size` (at most all) inputs float32 [B, C, H, W] and their labels int64 [B]."""
    if split is None:
        images = torch.randn(size, *signature.input_shape, generator=generator)
        return images, torch.randint(signature.outputs, (size,), generator=generator)
    drawn = torch.randperm(len(split), generator=generator)[:size]  # type: ignore[arg-type]
    if isinstance(split, TensorSplit):
        return split.batch(drawn)
    pairs = [split[i] for i in drawn.tolist()]
    return torch.stack([x.float() for x, _ in pairs]), torch.tensor([int(y) for _, y in pairs])
