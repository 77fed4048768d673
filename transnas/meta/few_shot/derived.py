"""What becomes of the weights once a task's architecture is decoded.

The published protocol meta-trains every decoded architecture from scratch (`retrain`: an ordinary
meta-training of a `DecodedNetwork`). `cluster` does so once for each distinct architecture.
`inherit` starts from the supernet's weights of the kept operations: `inherited` gives them to a
decoded network, and `Inheriting` adapts them within the supernet, for many tasks with different
architectures at once. Without any of these, the adapted mixture itself predicts (`supernet`).
"""

from __future__ import annotations

from functools import cached_property

from torch import Tensor

from transnas.meta.few_shot._inner import Fast
from transnas.meta.few_shot._learner import Learner
from transnas.meta.few_shot.decoding import SPACE, decode, finite, one_hot
from transnas.networks.few_shot import LOGITS, DecodedNetwork, FewShotSupernet
from transnas.networks.few_shot._two_cells import CELLS, EDGES
from transnas.spaces import Architecture

__all__ = ["Inheriting", "decoded_network", "inherited"]


def decoded_network(arch: Architecture, supernet: FewShotSupernet) -> DecodedNetwork:
    """Return the network of one architecture, of the supernet's size."""
    genotype = SPACE.genotype(arch)
    return DecodedNetwork(genotype, supernet.signature, supernet.channels, supernet.poolings)


def inherited(
    arch: Architecture, supernet: FewShotSupernet, meta: dict[str, Tensor]
) -> dict[str, Tensor]:
    """Return the parameters of the decoded network that the supernet has; not its scalings.

    Stem, head and preprocessing keep their names; an edge takes its operation's weights, which
    the supernet keeps together for all edges that leave one state.
    """
    network = decoded_network(arch, supernet)
    found = {n: meta[n] for n in network.shapes if n in meta and meta[n].shape == network.shapes[n]}
    for index, (kind, _) in enumerate(CELLS):
        pairs = [
            (state, node, op)
            for node, block in enumerate(SPACE.cells(arch)[kind].blocks, start=2)
            for state, op in block.pairs
        ]
        for e, (state, node, op) in enumerate(pairs):
            leaving = [target for source, target in EDGES if source == state]
            source = f"cells.{index}.sources.{state}.{op}."
            names = {
                "even.weight": "even",
                "odd.weight": "odd",
                "first.depthwise": "0.depthwise",
                "first.pointwise": "0.pointwise",
                "second.depthwise": "1.depthwise",
                "second.pointwise": "1.pointwise",
            }
            for own, packed in names.items():
                name = f"cells.{index}.edges.{e}.{own}"
                if name in network.shapes:
                    found[name] = meta[source + packed][leaving.index(node)]
    return found


class Inheriting(Learner):
    """A searching method whose tasks adapt the supernet's weights on their decoded path alone."""

    searches = True

    def __init__(self, searcher: Learner) -> None:
        assert isinstance(searcher.network, FewShotSupernet)
        super().__init__(searcher.network, searcher.settings, searcher.execution)
        self.searcher = searcher
        self.supernet = searcher.network

    @cached_property
    def phases(self) -> tuple[tuple[str, ...], ...]:
        """The logits stay what the decoding made them."""
        return (tuple(name for name in self.network.shapes if name != LOGITS),)

    def adapt(
        self,
        meta: dict[str, Tensor],
        xs: Tensor,
        ys: Tensor,
        steps: int | None = None,
        given: Fast | None = None,
    ) -> Fast:
        """Search on the support, decode, and adapt the meta-learnt weights on that path.

        A task whose search diverged keeps logits that are not finite, and so do its outputs.
        """
        logits = self.searcher.adapt(meta, xs, ys, steps, given)[LOGITS]
        kept = finite(logits)
        logits[kept] = one_hot(decode(logits[kept]), self.supernet).to(logits)
        return super().adapt(meta, xs, ys, steps, {**(given or {}), LOGITS: logits})
