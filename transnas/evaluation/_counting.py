"""Parameters and FLOPs of a network, counted by running it once on no data."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from transnas.evaluation._kinds import kind_of
from transnas.tasks import Signature

__all__ = ["flops", "parameters"]


def parameters(network: nn.Module) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def flops(network: nn.Module, signature: Signature) -> int:
    """Return the FLOPs of one image as papers on architecture search count: multiply-adds.

    That is half of what `torch.utils.flop_counter` says of convolutions and matrix products. Of a
    detector, whose further work depends on what it finds, the part called `dense` is counted.
    `network` may lie on any device, `meta` included; its mode and statistics stay as they are.
    """
    device = next(network.parameters()).device
    training = network.training
    network.eval()
    try:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            counted = getattr(network, "dense", network)
            counted(kind_of(signature.kind).blank(1, signature, device))
    finally:
        network.train(training)
    return int(counter.get_total_flops()) // 2
