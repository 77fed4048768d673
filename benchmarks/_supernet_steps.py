"""What the supernet benchmarks time: nets, one search step, and the plain way to execute it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from transnas import networks, spaces
from transnas.networks import Form, MixedEdges, Supernet
from transnas.networks.relaxations import Mix, Relaxation, Softmax
from transnas.tasks import Signature

CIFAR = Signature((3, 32, 32), 10)
Batch = tuple[Tensor, Tensor]


class EdgeByEdge:
    """Executes mixed edges as the published codes do: every operation of every edge by itself."""

    def __init__(self, net: Supernet) -> None:
        for module in net.modules():
            if isinstance(module, MixedEdges):
                module.forward = lambda x, mix, of=module: self._edges(of, x, mix)

    @staticmethod
    def _edges(of: MixedEdges, x: Tensor, mix: Mix) -> Iterator[tuple[int, Tensor]]:
        for row in of.rows:
            own, terms = of.edges[str(row)], []
            for code in mix.active(row):
                name = of.operations[code]
                module = of.shared[name] if name in of.shared else own[name]
                terms.append(mix.weights[row, code] * module(x))
            yield row, torch.stack(terms).sum(0) if len(terms) > 1 else terms[0]


def net_for(
    space: str,
    backend: str,
    relaxation: Relaxation | None = None,
    signature: Signature = CIFAR,
    device: str = "cpu",
    **skeleton: Any,
) -> Supernet:
    """Return a supernet with equal weights for equal settings; `reference` is the plain way."""
    torch.manual_seed(0)
    form = Form(backend="torch" if backend == "reference" else backend)  # type: ignore[arg-type]
    net = networks.supernet(
        spaces.get(space), signature, relaxation or Softmax(), form, **skeleton
    ).to(device)
    if backend == "reference":
        EdgeByEdge(net)
        return net
    return net.to(memory_format=torch.channels_last)


def random_batch(size: int, signature: Signature = CIFAR, device: str = "cpu") -> Batch:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(size, *signature.input_shape, generator=generator)
    y = torch.randint(signature.outputs, (size,), generator=generator)
    return x.to(device), y.to(device)


def gradients(net: Supernet, batch: Batch, backend: str, part: str) -> float:
    """Compute the loss's gradients as a search does; return the loss.

    `part` is logits or weights. The reference computes all gradients each time, as the published
    codes do; the others compute those of the part.
    """
    for p in net.parameters():
        p.grad = None
    x, y = batch
    if backend != "reference":
        x = x.to(memory_format=torch.channels_last)
    loss = F.cross_entropy(net(x), y)
    if backend == "reference":
        loss.backward()
    else:
        wanted = net.architecture_parameters() if part == "logits" else net.shared_weights()
        torch.autograd.backward(loss, inputs=wanted)
    return float(loss.detach())


def first_order(net: Supernet, batch: Batch, backend: str) -> None:
    """One step's gradients: of the logits, then of the weights."""
    gradients(net, batch, backend, "logits")
    gradients(net, batch, backend, "weights")


def second_order(net: Supernet, batch: Batch, backend: str) -> None:
    """One step's gradients with the finite-difference product: five passes, then the weights.

    Training gradient (for w'), validation gradients at w' (weights and logits in one pass), the
    logits' gradients at both ends of the difference, and the weights' own gradient.
    """
    gradients(net, batch, backend, "weights")
    x, y = batch
    F.cross_entropy(net(x.to(memory_format=torch.channels_last)), y).backward()
    for _ in range(2):
        gradients(net, batch, backend, "logits")
    gradients(net, batch, backend, "weights")


def cpu_seconds(step: Callable[[], None]) -> float:
    """Return the CPU seconds that a call takes, all threads together."""
    start = time.process_time()
    step()
    return time.process_time() - start
