"""Does an architecture search learnt on A help on B? The cross-distribution matrix of T-NAS.

    python benchmarks/few_shot_transfer.py --seed 0 [--sources omniglot cifar-fs] [--max-seconds S]

T-NAS is meta-trained on A and adapted to validation tasks of B; what they decode is meta-trained
from scratch on B by MAML, and tested on B's test episodes beside uniform architectures and two
controls: the architecture of A's logits without adaptation, and the adapted logits with their edges
shuffled. All images are brought to 3 x 32 x 32, so that one supernet fits every source. Results
and checkpoints are kept as those of few_shot_tables.py; rows are named `A kind number`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from few_shot_tables import SCALES, Cell, coloured, decoded, random_architectures, sized
from torch import Tensor

from transnas.meta.few_shot import Learner, decode
from transnas.networks.few_shot import LOGITS, FewShotSupernet
from transnas.networks.few_shot._two_cells import CELLS, EDGES
from transnas.tasks.episode_sources import get_source
from transnas.tasks.episodes import EpisodeSource

SIDE = 32
TASKS = 4
"""Validation tasks of B whose logits are looked at."""


class Common(Cell):
    """A cell whose images have the shape of all others'."""

    folder = "few-shot-transfer"

    def open(self) -> EpisodeSource:
        return coloured(sized(get_source(self.data), SIDE))


def shuffled(logits: Tensor, seed: int) -> Tensor:
    """Return logits [28, 8] whose edges changed places within their cell."""
    generator = torch.Generator().manual_seed(seed)
    orders = [
        k * len(EDGES) + torch.randperm(len(EDGES), generator=generator) for k in range(len(CELLS))
    ]
    return logits[torch.cat(orders)]


def transferred(source: Common, learner: Learner, meta: dict[str, Tensor], target: Common) -> None:
    """Train on the target what the source's search gives its tasks, and the controls."""
    assert isinstance(learner.network, FewShotSupernet)
    batch = target.source.batch("validation", target.spec, 0, TASKS)
    adapted = learner.adapt(meta, batch.xs, batch.ys)[LOGITS].cpu()
    mixed = torch.stack([shuffled(a, target.seed + i) for i, a in enumerate(adapted)])
    kinds = {"adapted": adapted, "meta": meta[LOGITS].cpu()[None], "shuffled": mixed}
    for kind, logits in kinds.items():
        for i, arch in enumerate(decode(logits)[: target.scale.architectures]):
            decoded(target, f"{source.data} {kind} {i}", arch, learner.network, "maml")


def main() -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sources", nargs="+", default=["omniglot", "cifar-fs"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scale", choices=sorted(SCALES), default="cpu")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--max-seconds", type=float, help="stop then, to be continued")
    given = parser.parse_args()
    cells = [
        Common(f"{data}-5-1", given.seed, given.scale, given.device, given.max_seconds)
        for data in given.sources
    ]
    for source in cells:
        network = FewShotSupernet(source.signature, source.scale.channels)
        learner = source.learner("t-nas", network)
        meta = source.train(learner, source.scale.search_steps, "t-nas").best
        for target in cells:
            transferred(source, learner, meta, target)
    for target in cells:
        random_architectures(target)


if __name__ == "__main__":
    torch.set_flush_denormal(True)
    sys.path.insert(0, str(Path(__file__).parent))
    main()
