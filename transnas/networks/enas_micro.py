"""The networks of ENAS micro cells: the skeleton of `networks.darts`, unread blocks as output.

Pham et al., "Efficient Neural Architecture Search via Parameter Sharing", ICML 2018, section 2.4.
Deviation: cells and stem are joined as in DARTS, not as in the released code.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from transnas.networks._registry import register, skeleton_from
from transnas.networks.darts import Network, Skeleton, suggest
from transnas.spaces import Architecture, Space
from transnas.spaces.darts import Genotype
from transnas.spaces.enas_micro import ENASMicro
from transnas.tasks import Signature

__all__ = ["build"]


@register("enas-micro", suggest)
def build(space: Space, arch: Architecture, signature: Signature, **skeleton: Any) -> nn.Module:
    """Return the network of a pair of cells; keywords are those of DARTS networks."""
    assert isinstance(space, ENASMicro)
    cells = space.cells(arch)
    genotype = Genotype(cells["normal"], cells["reduce"])
    return Network(genotype, signature, skeleton_from(Skeleton, skeleton))
